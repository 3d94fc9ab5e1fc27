/**
 * bap-engine, the orchestrator: read the configuration, start, run until a signal says stop.
 *
 * In production everything it needs is given and engines outlive it. In development (`npm start`) it makes
 * what it needs by itself and takes it all down again. A start that cannot succeed says why in one line and
 * exits with code 1.
 */
import { flushCompileCache } from 'node:module';
import { StartError, startOrchestrator } from './app.ts';
import { refuseUnfit } from './checks/examine.ts';
import { ConfigError, loadConfig } from './config.ts';
import { CannotStart } from './development/data_folder.ts';
import { runDevelopment } from './development/run.ts';
import { openLog } from './observe/log.ts';
import { EmbeddedPostgresError } from './registry/embedded_postgres.ts';

const running = start();
const end = () => {
  running.then(({ stop }) => stop()).then(() => process.exit(0), fail);
};
process.once('SIGINT', end);
process.once('SIGTERM', end);
// Now, not at the end: a process that is killed keeps nothing for the next start.
running.then(() => flushCompileCache(), fail);

function fail(error: unknown): never {
  const forPeople = [ConfigError, StartError, CannotStart, EmbeddedPostgresError];
  console.error(forPeople.some((kind) => error instanceof kind) ? (error as Error).message : error);
  process.exit(1);
}

async function start(): Promise<{ stop(): Promise<void> }> {
  if (process.env.NODE_ENV !== 'production') return await runDevelopment(process.env, process.cwd());
  const config = loadConfig(process.env, process.cwd());
  await refuseUnfit(config);
  const log = openLog(1, config.log_level);
  const orchestrator = await startOrchestrator({ config, log });
  return { stop: () => orchestrator.close() };
}
