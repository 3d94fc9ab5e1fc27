/**
 * The registry's connection to PostgreSQL.
 *
 * The hard part is telling two failures apart. An error that PostgreSQL answered with (a broken constraint,
 * a syntax error) is about the statement and goes up as it is. Anything else (no connection, a connection
 * lost in the middle, a server that is shutting down) says nothing about the statement: the database is
 * away, the caller gets `503 NOT_READY`, and the pool connects anew with the next call. Nothing is stopped
 * or restarted because of it.
 */
import pg from 'pg';
import { OrchestratorError } from '../errors.ts';

/** Connections of one orchestrator; a request holds one for a few milliseconds. */
const POOL_SIZE = 16;
/** Waiting for a connection longer than this means that the database is away or drowned, milliseconds. */
const CONNECT_TIMEOUT_MS = 5_000;
/** No statement of ours takes long; one that does is stuck, milliseconds. */
const STATEMENT_TIMEOUT_MS = 10_000;
/** How long a transaction waits for a row that another holds, milliseconds. */
const LOCK_TIMEOUT_MS = 5_000;
/** A transaction that its program forgot must not hold rows for ever, milliseconds. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 30_000;

/** SQLSTATE classes by which the server says that it, not the statement, is at fault: connection, resources, operator. */
const AWAY_CLASSES = ['08', '53', '57'];
/** A row was held for longer than `LOCK_TIMEOUT_MS`: somebody stands still in a transaction, and will go on or be cut off. */
const LOCK_NOT_AVAILABLE = '55P03';

/** Where statements run: on any connection of the pool, or inside one transaction. */
export type Sql = {
  /**
   * Runs one statement and gives its rows; the caller names their type beside the SQL. With values it is prepared
   * once per connection and planned a few times, not for each call, which is most of what a small statement takes;
   * so texts are fixed, or vary within bounds, and values never stand in them.
   */
  query<Row = never>(text: string, values?: unknown[]): Promise<Row[]>;
};

export type Db = Sql & {
  /** Runs `work` in one transaction: committed when it returns, rolled back when it throws. */
  tx<T>(work: (sql: Sql) => Promise<T>): Promise<T>;
  end(): Promise<void>;
};

/** Opens the pool; connects with the first statement. `onIdleError` hears of idle connections that broke. */
export function openDb(url: string, onIdleError: (error: Error) => void): Db {
  const pool = new pg.Pool({
    connectionString: url,
    max: POOL_SIZE,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: LOCK_TIMEOUT_MS,
    idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_TIMEOUT_MS,
    application_name: 'bap-engine',
  });
  // Without a listener a connection that breaks while idle would end the process.
  pool.on('error', onIdleError);

  async function withClient<T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
    const client = await pool.connect().catch((cause) => {
      throw away(cause);
    });
    // A connection that breaks while it is out of the pool says so here too; its query has failed by then.
    client.on('error', onIdleError);
    let broken = false;
    try {
      return await work(client);
    } catch (error) {
      broken = error instanceof OrchestratorError && error.code === 'NOT_READY';
      throw error;
    } finally {
      client.off('error', onIdleError);
      client.release(broken);
    }
  }

  /** By text. A connection that has prepared a statement knows it by its name. */
  const names = new Map<string, string>();
  function nameOf(text: string): string {
    const name = names.get(text) ?? `s${names.size}`;
    names.set(text, name);
    return name;
  }

  const on = (client: pg.PoolClient): Sql => ({
    query: async <Row>(text: string, values?: unknown[]) => {
      try {
        const statement = values === undefined ? { text } : { text, values, name: nameOf(text) };
        return (await client.query<Row & pg.QueryResultRow>(statement)).rows;
      } catch (error) {
        if (isOutdated(error)) throw away(error);
        if (error instanceof pg.DatabaseError && !isAway(error)) throw error;
        throw away(error);
      }
    },
  });

  return {
    async query(text, values) {
      for (;;) {
        try {
          return await withClient((client) => on(client).query(text, values));
        } catch (error) {
          // Nothing was run. Each time costs an old connection, and a new one is not outdated.
          if (!(error instanceof OrchestratorError && isOutdated(error.cause))) throw error;
        }
      }
    },
    tx: (work) =>
      withClient(async (client) => {
        const sql = on(client);
        await sql.query('BEGIN');
        try {
          const result = await work(sql);
          await sql.query('COMMIT');
          return result;
        } catch (error) {
          await sql.query('ROLLBACK');
          throw error;
        }
      }),
    end: () => pool.end(),
  };
}

/** Whether `error` is the violation of the named constraint. */
export function violates(error: unknown, constraint: string): boolean {
  return error instanceof pg.DatabaseError && error.constraint === constraint;
}

const isAway = ({ code = '' }: pg.DatabaseError) =>
  AWAY_CLASSES.includes(code.slice(0, 2)) || code === LOCK_NOT_AVAILABLE;

/**
 * Whether the server refused to run a prepared statement because its tables have other columns by now: another
 * replica has migrated the database. The connection is of no more use.
 */
function isOutdated(error: unknown): boolean {
  return (
    error instanceof pg.DatabaseError && error.code === '0A000' && error.routine === 'RevalidateCachedQuery'
  );
}

function away(cause: unknown) {
  return new OrchestratorError('NOT_READY', 'The database cannot be reached at the moment.', { cause });
}
