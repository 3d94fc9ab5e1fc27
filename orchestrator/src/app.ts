/**
 * The orchestrator, put together: database, backend, lifecycle, HTTP. Who starts it decides where the
 * configuration comes from and where the log goes.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { subprocessBackend } from './backends/subprocess.ts';
import type { Config } from './config.ts';
import { OrchestratorError } from './errors.ts';
import { createApp } from './http/app.ts';
import { listen } from './http/server.ts';
import { systemClock } from './lifecycle/clock.ts';
import { openLifecycle } from './lifecycle/operations.ts';
import { reconcile } from './lifecycle/reconcile.ts';
import { startRunner } from './lifecycle/runner.ts';
import type { Log } from './observe/log.ts';
import { type Db, openDb } from './registry/db.ts';
import { migrate } from './registry/migrate.ts';
import { syncPorts } from './registry/ports.ts';

/** The Engine is another program: started by its path, never imported. */
const ENGINE_ENTRY = fileURLToPath(new URL('../../engine/src/main.ts', import.meta.url));

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
  /** The Engine's program; another one in tests. */
  engine_entry?: string;
}): Promise<Orchestrator> {
  const { config, log } = options;
  const root = join(config.data_dir, 'engines');
  await mkdir(root, { recursive: true, mode: 0o700 }).catch((error) => {
    throw new StartError(
      `The data folder ${config.data_dir} cannot be used (${error.code}): make it writable, or name another with ORCH_DATA_DIR.`,
    );
  });
  const db = openDb(config.database_url, (err) => log.warn({ err }, 'a database connection broke'));
  const backend = subprocessBackend({
    root,
    entry: options.engine_entry ?? ENGINE_ENTRY,
    catalog_dir: config.catalog_dir,
    onError: (err) => log.warn({ err }, 'the log of an engine could not be limited'),
  });
  const ports = { min: config.port_min, max: config.port_max };
  const { master_keys, engine_environment, boot_timeout_s } = config;
  const parts = {
    db,
    backend,
    clock: systemClock,
    log,
    master_keys,
    engine_environment,
    ports,
    boot_timeout_s,
  };
  const runner = startRunner(parts);
  const lifecycle = openLifecycle({ db, master_keys, runner });
  const closing = new AbortController();
  const release = async () => {
    closing.abort(new OrchestratorError('NOT_READY', 'The orchestrator is stopping.'));
    await runner.close();
  };
  const end = async () => {
    await backend.close();
    await db.end();
  };

  try {
    const migrations = await migrate(db);
    if (migrations.length > 0) log.info({ migrations }, 'database migrated');
    await syncPorts(db, ports);
    await reconcile({ ...parts, lifecycle, runner }, closing.signal);
    const { admin_key, engine_image: default_version } = config;
    const app = createApp({ db, lifecycle, default_version, log, admin_key, master_keys });
    const server = await listen(app, config.host, config.port);
    log.info({ url: server.url }, 'orchestrator listens');
    const close = async (stop_engines_within_ms: number | undefined) => {
      await Promise.all([server.close(), release()]);
      if (stop_engines_within_ms !== undefined) {
        const standing = await backend.list();
        const grace_s = stop_engines_within_ms / 1000;
        await Promise.all(standing.map(({ engine_id }) => backend.stop(engine_id, grace_s)));
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
    await release();
    await end();
    throw asStartError(error, config);
  }
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
