/**
 * `npm start`: everything on one machine, from nothing, with nothing to configure.
 *
 * What production is given, a development run makes for itself: the database (O31), the secrets, a product
 * with a user to talk to. It also owns all of it: Ctrl-C ends the engines and the database too, in that
 * order. What `kill -9` leaves behind is taken over by the next start.
 *
 * Where database and keys are all given (compose.yaml), nothing is made: the products are the user's own, and the log
 * goes to standard output, where whoever runs a container looks for it. The engines still end with the run.
 */
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { type Orchestrator, startOrchestrator } from '../app.ts';
import { type Config, loadConfig } from '../config.ts';
import { newPlatformKey } from '../keys/formats.ts';
import { openLog, openLogFile } from '../observe/log.ts';
import { startEmbeddedPostgres } from '../registry/embedded_postgres.ts';
import { CannotStart, lockDataFolder, prepareDataFolder } from './data_folder.ts';
import { admitDemoUser, DEMO_USER, demoCommands, ensureDemoProduct } from './demo.ts';
import { developmentEnvironment, type Environment, MADE_LATER } from './environment.ts';
import { loadOrMakeSecrets } from './secrets.ts';

/** The engines' grace at Ctrl-C, milliseconds: with the database's own second it keeps within the promised 10 s. */
const STOP_GRACE_MS = 6_000;

export type DevelopmentRun = { stop(): Promise<void> };

/**
 * Starts everything; where it has made something, it prints what runs, where, and what to paste next.
 * Throws `ConfigError`, `CannotStart` or `EmbeddedPostgresError`: each message is for people as it stands.
 */
export async function runDevelopment(given: Environment, cwd: string): Promise<DevelopmentRun> {
  const env = await developmentEnvironment(given, cwd);
  const wanted = loadConfig({ ...MADE_LATER, ...env }, cwd);
  const folder = wanted.data_dir;
  const url = `http://${wanted.host}:${wanted.port}`;
  const undo: (() => unknown)[] = [];
  const stop = async () => {
    for (const step of undo.reverse()) await step();
  };

  try {
    await prepareDataFolder(folder);
    const lock = await lockDataFolder(folder, url);
    undo.push(() => lock.release());
    await refuseTakenPort(wanted);
    if (Object.keys(MADE_LATER).every((name) => env[name])) {
      const log = openLog(1, wanted.log_level);
      const orchestrator = await startOrchestrator({ config: wanted, log });
      undo.push(() => orchestrator.close({ stop_engines_within_ms: STOP_GRACE_MS }));
      return { stop };
    }

    const secrets = await loadOrMakeSecrets(folder, newPlatformKey);
    const database = env.ORCH_DATABASE_URL ? null : await startDatabase(folder);
    if (database) undo.push(() => database.stop());
    const config = loadConfig(
      {
        ORCH_DATABASE_URL: database?.url,
        ORCH_MASTER_KEY: secrets.master_key,
        ORCH_ADMIN_KEY: secrets.admin_key,
        ...env,
      },
      cwd,
    );

    const log = openLogFile(join(folder, 'orchestrator.log'), config.log_level);
    const orchestrator = await startOrchestrator({ config, log });
    undo.push(() => orchestrator.close({ stop_engines_within_ms: STOP_GRACE_MS }));
    await ensureDemoProduct(orchestrator.db, secrets.demo_platform_key);
    await introduce(orchestrator, secrets.demo_platform_key, relative(cwd, folder) || '.');
    return { stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Prints what runs and the commands to go on with. */
async function introduce(orchestrator: Orchestrator, platformKey: string, folder: string) {
  const { url } = orchestrator;
  console.log(`Engine: bringing one up for ${DEMO_USER} …`);
  const engine = await admitDemoUser(url, platformKey).catch((error: Error) => {
    console.error(`Engine: ${DEMO_USER} could not be admitted: ${error.message}`);
    return null;
  });
  console.log(`
bap-engine runs.

  orchestrator  ${url}  (API: ${url}/docs)
  engine        ${engine ? `${engine.url}  of ${DEMO_USER} in product demo (API: ${engine.url}/docs)` : 'none yet'}
  data          ${folder}/  (secrets.json, orchestrator.log, postgres/, engines/)`);
  if (engine) console.log(demoCommands(url, platformKey, engine));
  console.log(
    'Ctrl-C stops everything; the next start finds it all again. See it walked through: npm run tour',
  );
}

async function startDatabase(folder: string) {
  console.log('PostgreSQL: starting …');
  const database = await startEmbeddedPostgres({ folder: join(folder, 'postgres') });
  console.log(
    `PostgreSQL: ready (pid ${database.pid}${database.adopted ? ', taken over from an earlier run' : ''})`,
  );
  return database;
}

/** Before anything is made: the most common thing in the way of a first start. */
async function refuseTakenPort({ host, port }: Config): Promise<void> {
  const probe = createServer();
  await new Promise<void>((done, fail) => {
    probe.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE' ? 'is taken by another program' : `cannot be used (${error.code})`;
      fail(
        new CannotStart(
          `Port ${port} ${why}: stop what uses it, or choose another: ORCH_PORT=${port + 1} npm start`,
        ),
      );
    });
    probe.listen(port, host, () => probe.close(() => done()));
  });
}
