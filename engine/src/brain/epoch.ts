import type { DatabaseSync } from 'node:sqlite';
import { EngineExit } from '@september/contract';
import { StartError } from '../errors.ts';
import { integerOrNull } from './sqlite.ts';

/**
 * The fence (O22). An orchestrator that starts an Engine anew may not know for sure that the old one is gone:
 * it may sit on a host that cannot be reached, and come back. Each start therefore has a higher number; the
 * brain remembers the highest that held it, and a lower one is turned away before it has changed anything.
 */

/** @throws StartError `STALE_EPOCH`. Reads only. Without an epoch of our own there is no fence (E28). */
export function checkEpoch(db: DatabaseSync, epoch: number | undefined): void {
  if (epoch === undefined || !hasTable(db)) return;
  const row = db.prepare('SELECT epoch FROM brain_lock WHERE id = 1').get();
  const held = row === undefined ? null : integerOrNull(row, 'epoch');
  if (held !== null && held > epoch) {
    throw new StartError(
      EngineExit.STALE_EPOCH,
      `ENGINE_EPOCH ${epoch} is stale: epoch ${held} has held this brain. Do not repeat this start.`,
    );
  }
}

/** Writes our epoch, after the migrations have made its table. */
export function holdEpoch(db: DatabaseSync, epoch: number | undefined): void {
  if (epoch !== undefined) db.prepare('UPDATE brain_lock SET epoch = ? WHERE id = 1').run(epoch);
}

function hasTable(db: DatabaseSync): boolean {
  return (
    db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'brain_lock'").get() !== undefined
  );
}
