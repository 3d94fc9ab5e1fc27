/**
 * This orchestrator as one of several on one database (O23).
 *
 * The problem: when a replica dies, how do the others learn that its work is free? A lease that has to run
 * out says so late, or is so short that a slow moment loses it. The rule: each replica holds, for as long as
 * it lives, an advisory lock named by its id, on a connection that does nothing else. PostgreSQL takes the
 * lock back the moment that connection ends, and a process that is killed loses its connections at once.
 * So an owner without its lock is dead, and its leases are free; the time in a lease is only for a replica
 * that lives and does nothing, one that is stopped or cut off.
 *
 * Where the connection breaks under a living replica, others may take its work over; the lease's number
 * keeps the two apart (registry/operations.ts). It needs a connection of its own to the server: behind a
 * pooler that shares sessions between clients the lock would say nothing.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Db } from './db.ts';

/** First key of the replicas' advisory locks: any number that no other program on this database uses. */
const LOCK_CLASS = 7_305_002;
/** Pause before the connection is tried again, milliseconds. */
const RECONNECT_MS = 250;
/** Waiting longer for a connection means that the database is away, milliseconds. */
const CONNECT_TIMEOUT_MS = 5_000;

export type Replica = {
  /** Never given twice, so nobody can take a dead replica's place by accident. */
  id: number;
  /** Lets go of the lock: what this replica still owns is free. */
  close(): Promise<void>;
};

/** Whether the replica in `column` holds its lock; for use in a statement. */
export const ownerLives = (column: string) =>
  `EXISTS (SELECT FROM pg_locks
            WHERE locktype = 'advisory' AND objsubid = 2 AND granted
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND classid = ${LOCK_CLASS} AND objid = ${column})`;

/** Joins; the database is migrated. Throws `NOT_READY` or the driver's error when it cannot be reached. */
export async function joinReplicas(
  db: Db,
  url: string,
  onBroken: (error: unknown) => void,
): Promise<Replica> {
  const [row] = await db.query<{ id: number }>("SELECT nextval('replica_ids')::int AS id");
  if (row === undefined) throw new TypeError('nextval gave no row');
  const { id } = row;
  const closing = new AbortController();
  let client = await hold(url, id, onBroken);
  const held = keepHolding();

  async function keepHolding(): Promise<void> {
    while (!closing.signal.aborted) {
      await ended(client, closing.signal);
      while (!closing.signal.aborted) {
        try {
          client = await hold(url, id, onBroken);
          break;
        } catch (error) {
          onBroken(error);
          await delay(RECONNECT_MS, undefined, { signal: closing.signal }).catch(() => undefined);
        }
      }
    }
  }

  return {
    id,
    async close() {
      closing.abort();
      await held;
      await client.end();
    },
  };
}

async function hold(url: string, id: number, onBroken: (error: unknown) => void): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
    application_name: `bap-engine replica ${id}`,
  });
  client.on('error', onBroken);
  try {
    await client.connect();
    const { rows } = await client.query('SELECT pg_try_advisory_lock($1, $2) AS held', [LOCK_CLASS, id]);
    if (rows[0]?.held !== true) throw new Error('the connection before still holds the lock of this replica');
    return client;
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  }
}

/** Resolves when the connection has ended, or `signal` fires. */
async function ended(client: pg.Client, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    client.once('end', resolve);
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
