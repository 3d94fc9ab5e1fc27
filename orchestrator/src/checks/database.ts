/** Looks at the database: is it there, new enough, migrated, ours to write to, and does its clock agree? */
import { OrchestratorError } from '../errors.ts';
import type { Db } from '../registry/db.ts';
import { schemaState } from '../registry/migrate.ts';
import type { Finding } from './finding.ts';

/** PostgreSQL that the SQL is written for. Bap-engine §10. */
const MIN_VERSION = 16;
/** Clocks further apart than this confuse whoever compares logs with the audit log, seconds. */
const MAX_CLOCK_DIFFERENCE_S = 2;

const check = 'database';

/** Reachable, and of a version that will do; an empty list stands for both. */
export async function checkServer(db: Db): Promise<{ fit: boolean; finding: Finding }> {
  try {
    const [row] = await db.query<{ version: number; name: string }>(
      `SELECT current_setting('server_version_num')::int / 10000 AS version, current_setting('server_version') AS name`,
    );
    const { version = 0, name = 'unknown' } = row ?? {};
    if (version >= MIN_VERSION) {
      return { fit: true, finding: { check, verdict: 'ok', found: `PostgreSQL ${name} answers.` } };
    }
    const found = `PostgreSQL ${name} is too old.`;
    const advice = `Upgrade it to ${MIN_VERSION} or newer, or name another with ORCH_DATABASE_URL.`;
    return { fit: false, finding: { check, verdict: 'problem', found, advice } };
  } catch (error) {
    return { fit: false, finding: refusalOf(error) };
  }
}

function refusalOf(error: unknown): Finding {
  const cause = error instanceof OrchestratorError && error.cause instanceof Error ? error.cause : error;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'no answer';
  return {
    check,
    verdict: 'problem',
    found: `The database cannot be used (${code}).`,
    advice: REMEDIES[code] ?? 'Is it up, and is ORCH_DATABASE_URL right?',
  };
}

/** By SQLSTATE, where there is something better to say than to look at the address. */
const REMEDIES: Record<string, string> = {
  '28P01': 'User or password in ORCH_DATABASE_URL are wrong.',
  '28000': 'The server does not let this user in: see its pg_hba.conf, and ORCH_DATABASE_URL.',
  '3D000': 'Create the database that ORCH_DATABASE_URL names.',
  '53300': 'The server has no connection left: raise max_connections, or run fewer replicas.',
};

/** Schema, rights and clock of a server that answers. */
export async function checkDatabase(db: Db): Promise<Finding[]> {
  return [await checkSchema(db), await checkRights(db), await checkClock(db)];
}

async function checkSchema(db: Db): Promise<Finding> {
  const { reached, wanted } = await schemaState(db);
  if (reached === wanted)
    return { check, verdict: 'ok', found: `The schema is at ${reached}, as it should be.` };
  if (reached > wanted) {
    const found = `The schema is at ${reached}, and this version knows it up to ${wanted}.`;
    return { check, verdict: 'warning', found, advice: 'A newer version has run here: upgrade this one.' };
  }
  const found =
    reached === 0 ? 'The database is empty.' : `The schema is at ${reached}; ${wanted} is needed.`;
  return { check, verdict: 'warning', found, advice: 'Run `bap-engine migrate`; a start does it too.' };
}

async function checkRights(db: Db): Promise<Finding> {
  const [row] = await db.query<{ role: string; may_create: boolean; closed: string[] }>(
    `SELECT current_user AS role,
            coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
            ARRAY(SELECT c.relname::text FROM pg_class c
                   WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
                     AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                              AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
                   ORDER BY 1) AS closed`,
  );
  const { role = '?', may_create = false, closed = [] } = row ?? {};
  if (closed.length > 0) {
    const found = `${role} may not read and write ${closed.join(', ')}.`;
    return {
      check,
      verdict: 'problem',
      found,
      advice: `Make ${role} the owner of the schema and its tables.`,
    };
  }
  if (may_create) return { check, verdict: 'ok', found: `${role} may read, write and migrate.` };
  const found = `${role} may not create tables: a migration would fail.`;
  return { check, verdict: 'problem', found, advice: `GRANT CREATE on its schema to ${role}.` };
}

async function checkClock(db: Db): Promise<Finding> {
  const before = Date.now();
  const [row] = await db.query<{ at: Date }>('SELECT clock_timestamp() AS at');
  const after = Date.now();
  const at = row?.at.getTime() ?? 0;
  // Its answer was made somewhere between the two.
  const difference_s = Math.max(0, before - at, at - after) / 1000;
  if (difference_s <= MAX_CLOCK_DIFFERENCE_S) {
    return { check, verdict: 'ok', found: "The database's clock agrees with this machine's." };
  }
  const found = `The database's clock is ${difference_s.toFixed(1)} s away from this machine's.`;
  const advice = 'Synchronise both (NTP). Deadlines follow the database; idleness and logs this machine.';
  return { check, verdict: 'warning', found, advice };
}
