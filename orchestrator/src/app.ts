/**
 * The orchestrator as a process: the core with a real database, backend, clock and socket. Who starts it
 * decides where the configuration comes from and where the log goes.
 */
import { fileURLToPath } from 'node:url';
import { openBackend } from './backends/open.ts';
import { isSystemError } from './backends/process.ts';
import type { Config } from './config.ts';
import { type Core, openCore } from './core.ts';
import { OrchestratorError } from './errors.ts';
import { type HitFailpoint, noFailpoint } from './failpoints.ts';
import { listen } from './http/server.ts';
import { askOverHttp } from './lifecycle/ask.ts';
import { type Clock, systemClock } from './lifecycle/clock.ts';
import type { Log } from './observe/log.ts';
import { watchProcess } from './observe/process.ts';
import { type Db, openDb } from './registry/db.ts';
import { migrate } from './registry/migrate.ts';
import { type PortRange, syncPorts } from './registry/ports.ts';
import { joinReplicas, type Replica } from './registry/replica.ts';

/** The Engine is another program: started by its path, never imported. */
export const ENGINE_ENTRY = fileURLToPath(new URL('../../engine/src/main.ts', import.meta.url));

/** Something outside stands in the way of a start. `message` is one line and says what to do. */
export class StartError extends Error {
  override name = 'StartError';
}

export type Orchestrator = {
  url: string;
  db: Db;
  /**
   * Stops serving; what operations leave unfinished the next start takes up. Engines go on, unless
   * `stop_engines_within_ms` gives them that long to end; in the registry they stay `running`, so that the
   * next start brings them up again. Asked again it waits for the same end.
   */
  close(options?: { stop_engines_within_ms?: number }): Promise<void>;
};

/** Starts an orchestrator; it serves when this returns. Throws `StartError`. */
export async function startOrchestrator(options: {
  config: Config;
  log: Log;
  /** The Engine's program; another one in tests, or one for each image. */
  engine_entry?: string | ((image: string) => string);
  /** Called at points where a test may want to kill this process. */
  failpoint?: HitFailpoint;
  /** Another one in tests. */
  clock?: Clock;
}): Promise<Orchestrator> {
  const { config, log, failpoint = noFailpoint, clock = systemClock } = options;
  const backend = await openBackend(config, {
    entry: options.engine_entry ?? ENGINE_ENTRY,
    onError: (err) => log.warn({ err }, 'the backend could not do what it does by the way'),
    failpoint,
  }).catch((error) => {
    if (!isSystemError(error, 'EACCES', 'ENOENT', 'ENOTDIR', 'EEXIST', 'EROFS', 'ENOSPC')) throw error;
    throw new StartError(
      `The data folder ${config.data_dir} cannot be used (${error.code}): make it writable, or name another with ORCH_DATA_DIR.`,
    );
  });
  const db = openDb(config.database_url, (err) => log.warn({ err }, 'a database connection broke'));
  const ports = { min: config.port_min, max: config.port_max };
  const replica = await joinRegistry(db, config, ports, log).catch(async (error) => {
    await backend.close();
    await db.end();
    throw asStartError(error, config);
  });
  const process_watch = watchProcess();
  const end = async () => {
    process_watch.close();
    await backend.close();
    await replica.close();
    await db.end();
  };
  let core: Core | undefined;
  try {
    core = await openCore(config, {
      db,
      backend,
      clock,
      ask: askOverHttp,
      log,
      failpoint,
      random: Math.random,
      process_watch,
      owner: replica.id,
    });
    const { startLoops, release } = core;
    const server = await listen(core, config.host, config.port);
    log.info({ url: server.url }, 'orchestrator listens');
    startLoops();
    const close = async (stop_engines_within_ms: number | undefined) => {
      await Promise.all([server.close(), release()]);
      if (stop_engines_within_ms !== undefined) {
        const grace_s = stop_engines_within_ms / 1000;
        await Promise.all(
          (await backend.list()).map(async ({ engine_id, presence }) => {
            if (presence.state !== 'present') return;
            await backend.stop(engine_id, { epoch: presence.epoch, grace_s });
          }),
        );
      }
      await end();
      log.info('orchestrator ended');
    };
    let closed: Promise<void> | undefined;
    return {
      url: server.url,
      db,
      close({ stop_engines_within_ms } = {}) {
        closed ??= close(stop_engines_within_ms);
        return closed;
      },
    };
  } catch (error) {
    await core?.release();
    await end();
    throw asStartError(error, config);
  }
}

/** Brings the database up to date and joins the replicas on it. */
async function joinRegistry(db: Db, config: Config, ports: PortRange, log: Log): Promise<Replica> {
  const migrations = await migrate(db);
  if (migrations.length > 0) log.info({ migrations }, 'database migrated');
  await syncPorts(db, ports);
  return await joinReplicas(db, config.database_url, (err) => {
    log.warn(
      { err },
      'the connection that says that this replica lives broke; others may take its work over',
    );
  });
}

function asStartError(error: unknown, config: Config): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EADDRINUSE') {
    return new StartError(
      `Port ${config.port} is taken: stop what uses it, or choose another with ORCH_PORT.`,
    );
  }
  if (code === 'EACCES' || code === 'EADDRNOTAVAIL') {
    return new StartError(
      `Cannot listen on ${config.host}:${config.port} (${code}): see ORCH_HOST and ORCH_PORT.`,
    );
  }
  if (error instanceof OrchestratorError && error.code === 'NOT_READY') {
    const { cause } = error;
    const why = cause instanceof Error && 'code' in cause ? ` (${cause.code})` : '';
    return new StartError(`The database cannot be reached${why}: is it up, and is ORCH_DATABASE_URL right?`);
  }
  return error;
}
