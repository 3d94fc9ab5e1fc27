/**
 * What happened that an operator may ask about later, one row each, with its reason. Written in the transaction of the
 * step it tells of: there is no row of what never was, and no step without its row. Source: engine-runtime, "Brain";
 * operations, "Logs, metrics, events, traces"; E26.
 */
import type { DatabaseSync } from 'node:sqlite';
import { integer, type Row, text, textOrNull } from './sqlite.ts';

export const OBSERVED_KINDS = [
  'permission_allowed',
  'permission_asked',
  'permission_denied',
  'secrets_redacted',
] as const;

export type Observed = {
  kind: (typeof OBSERVED_KINDS)[number];
  task_id: string | null;
  turn_id: string | null;
  /** Unix milliseconds. */
  timestamp: number;
  data: Record<string, unknown>;
};

/** `after`: id of the last row of the page before; `since`, `until`: Unix milliseconds, both included. */
export type ObservedQuery = {
  kind?: string | undefined;
  task_id?: string | undefined;
  since?: number | undefined;
  until?: number | undefined;
  after: number;
  limit: number;
};

/** The specification's number. */
const KEPT_MS = 30 * 86_400_000;

export type Observability = ReturnType<typeof openObservability>;

export function openObservability(db: DatabaseSync) {
  const insert = db.prepare(
    'INSERT INTO observability_events (kind, task_id, turn_id, timestamp, data) VALUES (?, ?, ?, ?, ?)',
  );
  const query = db.prepare(`
    SELECT * FROM observability_events
     WHERE id > ?1 AND kind = coalesce(?2, kind) AND (?3 IS NULL OR task_id = ?3)
       AND timestamp BETWEEN coalesce(?4, 0) AND coalesce(?5, 9e15)
     ORDER BY id LIMIT ?6`);
  const expire = db.prepare('DELETE FROM observability_events WHERE timestamp < ?');

  return {
    append({ kind, task_id, turn_id, timestamp, data }: Observed): void {
      insert.run(kind, task_id, turn_id, timestamp, JSON.stringify(data));
    },

    /** Oldest first. */
    query: ({ kind, task_id, since, until, after, limit }: ObservedQuery) =>
      query.all(after, kind ?? null, task_id ?? null, since ?? null, until ?? null, limit).map(toObserved),

    /** Drops what is older than 30 days before `now` (Unix milliseconds). */
    expire(now: number): void {
      expire.run(now - KEPT_MS);
    },
  };
}

const toObserved = (row: Row) => ({
  id: integer(row, 'id'),
  kind: text(row, 'kind'),
  task_id: textOrNull(row, 'task_id'),
  turn_id: textOrNull(row, 'turn_id'),
  timestamp: integer(row, 'timestamp'),
  data: JSON.parse(text(row, 'data')),
});
