/**
 * The registry of a run: the real SQL on a real PostgreSQL, under virtual time.
 *
 * The statements say `now()`, `random()`, `pg_locks`. A schema that is searched before PostgreSQL's own holds
 * functions and a view of these names that answer from the run: its time, its seed, the replicas that live.
 *
 * One connection serves a whole run, and a transaction has it to itself, first come, first served. That makes
 * a run repeatable; what it cannot show is two transactions whose statements mix. Row locks and isolation are
 * PostgreSQL's work, and the tests with two replicas (lifecycle/replicas.test.ts) show them on the real thing.
 */
import { Socket } from 'node:net';
import { setImmediate as drained } from 'node:timers/promises';
import pg from 'pg';
import type { Sql } from '../../src/registry/db.ts';
import { migrate } from '../../src/registry/migrate.ts';

/** Virtual time begins here. */
export const EPOCH_MS = Date.parse('2030-01-01T00:00:00.000Z');

const SETUP = `
  SET synchronous_commit = off;
  SET jit = off;
  -- A plan must not depend on what an earlier run has left; emptying a table has its plans made anew.
  SET plan_cache_mode = force_generic_plan;
  CREATE SCHEMA sim;
  SET sim.now = '2030-01-01T00:00:00Z';
  SET sim.living = '';
  CREATE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT current_setting('sim.now')::timestamptz $$;
  CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql STABLE
    AS $$ SELECT current_setting('sim.now')::timestamptz $$;
  CREATE FUNCTION sim.gen_random_uuid() RETURNS uuid LANGUAGE sql VOLATILE
    -- Version 4, variant 8: the API takes nothing else for an id.
    AS $$ SELECT overlay(overlay(md5(random()::text || random()::text) PLACING '4' FROM 13) PLACING '8' FROM 17)::uuid $$;
  -- As registry/replica.ts reads it: who lives holds his lock.
  CREATE VIEW sim.pg_locks AS
    SELECT 'advisory'::text AS locktype, 2 AS objsubid, true AS granted, d.oid AS database,
           7305002 AS classid, living::int AS objid
      FROM pg_database d, unnest(string_to_array(current_setting('sim.living'), ',')) AS living
     WHERE d.datname = current_database();
  SET search_path = public, sim, pg_catalog;
`;

export type Database = {
  /** Runs one statement, in its turn. */
  query: Sql['query'];
  /** Runs `work` in one transaction, in its turn. */
  tx<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  /** Resolves when nothing is being asked and no promise has anything left to do. */
  quiet(): Promise<void>;
  /** Empties everything for the next run: its time, its seed, its living replicas. */
  reset(run: { seed: number; now: () => number; living: ReadonlySet<number> }): Promise<void>;
  end(): Promise<void>;
};

/** Opens an empty database and brings its schema up to date. */
export async function openDatabase(url: string): Promise<Database> {
  const socket = new Socket();
  const client = new pg.Client({ connectionString: url, stream: () => socket, pipeline: true });
  await client.connect();
  await client.query(SETUP);
  let asked: Promise<unknown> | null = null;
  /** What goes out together with the next statement. */
  let ahead = '';
  let turn: Promise<unknown> = Promise.resolve();
  /** Statements are prepared once, by name; that halves their price. */
  const names = new Map<string, string>();
  let told = '';
  let run = { now: () => 0, living: new Set<number>() as ReadonlySet<number> };

  /** One round trip: what is ahead is in the same packet, and nobody waits for its answer. */
  async function ask<Row extends pg.QueryResultRow>(query: string | pg.QueryConfig): Promise<Row[]> {
    socket.cork();
    const before = ahead === '' ? null : client.query(ahead);
    ahead = '';
    const both = Promise.all([client.query<Row>(query), before]);
    socket.uncork();
    asked = both;
    try {
      return (await both)[0].rows;
    } finally {
      asked = null;
    }
  }

  /** Has the next statement see time and life as they are, where either has changed. */
  function announce(): void {
    const next = `${run.now()} ${[...run.living].join()}`;
    if (next === told) return;
    told = next;
    const now = new Date(EPOCH_MS + run.now()).toISOString();
    ahead = `SET sim.now = '${now}'; SET sim.living = '${[...run.living].join()}';`;
  }

  const sql: Sql = {
    query: async <Row>(text: string, values?: unknown[]) => {
      if (values === undefined) return await ask<Row & pg.QueryResultRow>(text);
      let name = names.get(text);
      if (name === undefined) {
        name = `s${names.size}`;
        names.set(text, name);
      }
      return await ask<Row & pg.QueryResultRow>({ name, text, values });
    },
  };

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = turn.then(work);
    turn = mine.catch(() => undefined);
    return mine;
  }

  const database: Database = {
    query: (text, values) =>
      inTurn(async () => {
        announce();
        return await sql.query(text, values);
      }),
    tx: (work) =>
      inTurn(async () => {
        announce();
        ahead += 'BEGIN';
        try {
          const result = await work(sql);
          await ask('COMMIT');
          return result;
        } catch (error) {
          await ask('ROLLBACK');
          // What was set together with BEGIN is taken back as well.
          told = '';
          throw error;
        }
      }),
    async quiet() {
      do {
        await asked?.catch(() => undefined);
        await drained();
      } while (asked !== null);
    },
    async reset({ seed, now, living }) {
      run = { now, living };
      told = '';
      const tables = await ask<{ list: string }>(
        `SELECT string_agg(quote_ident(tablename), ', ') AS list FROM pg_tables
          WHERE schemaname = 'public' AND tablename <> 'schema_migrations'`,
      );
      await ask(`TRUNCATE ${tables[0]?.list} RESTART IDENTITY`);
      await ask(`SELECT setval('replica_ids', 1, false), setseed(${(seed % 2 ** 31) / 2 ** 31})`);
    },
    end: () => client.end(),
  };
  await migrate({ ...database, end: database.end });
  await keepVacuumAway();
  return database;

  /** Its statistics would change plans, and with them the order of rows that come at the same moment. */
  async function keepVacuumAway() {
    const tables = await ask<{ name: string }>(
      `SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public'`,
    );
    for (const { name } of tables) await ask(`ALTER TABLE ${name} SET (autovacuum_enabled = off)`);
  }
}
