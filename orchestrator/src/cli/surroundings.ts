/**
 * What a command talks to. Commands about the fleet speak HTTP with the admin key, from any machine; those that
 * work on the database itself run beside the orchestrator, with its configuration. In development both find what
 * `npm start` has made for itself.
 */
import { join, relative, resolve } from 'node:path';
import { type Config, loadConfig, readSecretFiles } from '../config.ts';
import { developmentEnvironment, type Environment, MADE_LATER } from '../development/environment.ts';
import { readSecrets, secretsFile } from '../development/secrets.ts';
import { type Db, openDb } from '../registry/db.ts';
import { findEmbeddedPostgres } from '../registry/embedded_postgres.ts';
import type { Io } from './command.ts';
import { CommandFailure } from './failure.ts';

/** What the command line reads beside the orchestrator's own variables. */
export const COMMAND_LINE_VARIABLES = [
  {
    name: 'ORCH_URL',
    default: 'http://127.0.0.1:8000',
    meaning: 'Where the orchestrator answers; in development the port is that of ORCH_PORT.',
  },
  {
    name: 'ORCH_ADMIN_KEY',
    default: '',
    meaning: 'The admin key; in development that of .september/secrets.json.',
  },
  { name: 'ORCH_ADMIN_KEY_FILE', default: '', meaning: 'A file that holds it, instead.' },
] as const;

/** Where the fleet's API is, and the key to it. Throws `CONFIGURATION`, or `ConfigError`. */
export async function fleetAccess(io: Io): Promise<{ url: string; admin_key: string }> {
  const { env, development, data_dir } = await environment(io);
  const port = (development && env.ORCH_PORT) || '8000';
  const url = (env.ORCH_URL || `http://127.0.0.1:${port}`).replace(/\/+$/, '');
  if (!/^https?:\/\/[^/]+$/.test(url) || !URL.canParse(url)) {
    throw new CommandFailure('CONFIGURATION', 'ORCH_URL must be http://host:port or https://host:port.');
  }
  if (env.ORCH_ADMIN_KEY) return { url, admin_key: env.ORCH_ADMIN_KEY };
  const secrets = development ? await readSecrets(data_dir) : null;
  if (secrets === null) {
    throw new CommandFailure('CONFIGURATION', 'There is no admin key.', {
      advice:
        'Set ORCH_ADMIN_KEY or ORCH_ADMIN_KEY_FILE, or run this in the folder of a running `npm start`.',
    });
  }
  io.note(`(development: admin key from ${relative(io.cwd, secretsFile(data_dir))})`);
  return { url, admin_key: secrets.admin_key };
}

/** `database`: null where it is the embedded one and that does not run. */
export type Configured = { config: Config; database: Db | null; end(): Promise<void> };

/** The orchestrator's configuration, and its database, connected with the first statement. Throws `ConfigError`. */
export async function configured(io: Io): Promise<Configured> {
  const { env, development, data_dir } = await environment(io);
  const made: Environment = {};
  let running = true;
  if (development) {
    const secrets = await readSecrets(data_dir);
    const embedded = env.ORCH_DATABASE_URL ? null : await findEmbeddedPostgres(join(data_dir, 'postgres'));
    running = Boolean(env.ORCH_DATABASE_URL) || embedded !== null;
    made.ORCH_DATABASE_URL = embedded ?? MADE_LATER.ORCH_DATABASE_URL;
    made.ORCH_MASTER_KEY = secrets?.master_key;
    made.ORCH_ADMIN_KEY = secrets?.admin_key;
    if (embedded !== null) io.note(`(development: the database of ${relative(io.cwd, data_dir)})`);
  }
  const config = loadConfig({ ...made, ...env }, io.cwd);
  const database = running ? openDb(config.database_url, () => {}) : null;
  return { config, database, end: async () => await database?.end() };
}

/** Runs `work` on the orchestrator's database. Throws `ConfigError`, or `UNREACHABLE`. */
export async function withDatabase<T>(io: Io, work: (db: Db, config: Config) => Promise<T>): Promise<T> {
  const { config, database, end } = await configured(io);
  if (database === null) {
    throw new CommandFailure('UNREACHABLE', 'There is no database: the embedded one does not run.', {
      advice: 'Run `npm start` in this folder, or set ORCH_DATABASE_URL.',
    });
  }
  try {
    return await work(database, config);
  } finally {
    await end();
  }
}

async function environment(io: Io) {
  const development = io.env.NODE_ENV !== 'production';
  const env = development ? await developmentEnvironment(io.env, io.cwd) : readSecretFiles(io.env, io.cwd);
  return { env, development, data_dir: resolve(io.cwd, env.ORCH_DATA_DIR || '.september') };
}
