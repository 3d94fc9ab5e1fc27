/**
 * Migrations: numbered .sql files, applied in order, each once, never edited after it landed.
 *
 * Several orchestrators may start at once on one empty database. All pending files run in one transaction
 * under one advisory lock, so one of them does the work and the others wait and find nothing to do; a crash
 * in the middle leaves nothing behind.
 */
import { readdir, readFile } from 'node:fs/promises';
import { OrchestratorError } from '../errors.ts';
import type { Db, Sql } from './db.ts';

const FOLDER = new URL('./migrations/', import.meta.url);
/** Any number that no other program on this database uses as an advisory lock. */
const LOCK = 7_305_001;
/** Another orchestrator may be at it; the usual limits of a statement would give up too early. */
const LOCK_TIMEOUT = '120s';

type Migration = { version: number; name: string };

/** Brings the schema up to date. Returns the names of the files applied. */
export async function migrate(db: Db): Promise<string[]> {
  const files = await migrations();
  return await db.tx(async (sql) => {
    await sql.query(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
    await sql.query(`SET LOCAL statement_timeout = '${LOCK_TIMEOUT}'`);
    await sql.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
    await sql.query(`
      CREATE TABLE IF NOT EXISTS schema_migrations (
        version integer PRIMARY KEY,
        name text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
      )`);
    const reached = await schemaVersion(sql);
    const pending = files.filter(({ version }) => version > reached);
    for (const { version, name } of pending) {
      await sql.query(await readFile(new URL(name, FOLDER), 'utf8'));
      await sql.query('INSERT INTO schema_migrations (version, name) VALUES ($1, $2)', [version, name]);
    }
    return pending.map(({ name }) => name);
  });
}

/**
 * The check behind `GET /health`: the database answers and its schema is at least this program's.
 * Throws `NOT_READY` otherwise.
 */
export async function checkSchema(db: Db): Promise<void> {
  const [wanted, reached] = [await wantedVersion(), await schemaVersion(db)];
  if (reached < wanted) {
    throw new OrchestratorError('NOT_READY', `The database is at schema ${reached}, ${wanted} is needed.`);
  }
}

/** The schema's version and this program's; 0 is an empty database. */
export async function schemaState(db: Db): Promise<{ reached: number; wanted: number }> {
  const [row] = await db.query<{ there: boolean }>(
    "SELECT to_regclass('schema_migrations') IS NOT NULL AS there",
  );
  return { reached: row?.there ? await schemaVersion(db) : 0, wanted: await wantedVersion() };
}

const wantedVersion = async () => (await migrations()).at(-1)?.version ?? 0;

async function schemaVersion(sql: Sql): Promise<number> {
  const [row] = await sql.query<{ version: number }>(
    'SELECT coalesce(max(version), 0)::int AS version FROM schema_migrations',
  );
  return row?.version ?? 0;
}

/** The files, in the order of the numbers they begin with. */
async function migrations(): Promise<Migration[]> {
  const names = (await readdir(FOLDER)).filter((name) => /^\d{4}_.*\.sql$/.test(name));
  return names.sort().map((name) => ({ version: Number(name.slice(0, 4)), name }));
}
