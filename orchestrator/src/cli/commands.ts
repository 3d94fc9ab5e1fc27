import type { Command } from './command.ts';
import { audit, auditVerify } from './commands/audit.ts';
import { doctor } from './commands/doctor.ts';
import { engines, explain } from './commands/engines.ts';
import { rotateMasterKey } from './commands/master_key.ts';
import { migrateCommand } from './commands/migrate.ts';
import { operations } from './commands/operations.ts';
import {
  deleteProduct,
  listProducts,
  productPolicy,
  registerProduct,
  rotatePlatformKey,
} from './commands/products.ts';
import { repairEpochsCommand } from './commands/repair_epochs.ts';
import { upgrade } from './commands/upgrade.ts';

/** Every command, in the order in which help lists them. */
export const COMMANDS: readonly Command[] = [
  listProducts,
  registerProduct,
  productPolicy,
  rotatePlatformKey,
  deleteProduct,
  engines,
  explain,
  audit,
  auditVerify,
  operations,
  upgrade,
  rotateMasterKey,
  migrateCommand,
  doctor,
  repairEpochsCommand,
];
