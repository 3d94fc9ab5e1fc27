import type { DatabaseSync } from 'node:sqlite';
import { integer, text } from './sqlite.ts';

/** An event as it lies in the buffer. `data` is the JSON that goes over the wire, to the byte. */
export type StoredEvent = { id: number; task_id: string; turn_id: string; type: string; data: string };

/** An event on its way in; the brain gives the id. `timestamp`: Unix milliseconds. */
export type NewEvent = Omit<StoredEvent, 'id'> & { timestamp: number };

/** A batch a reader takes at once: enough to be quick, small enough that no reader holds much memory. */
const READ_EVENTS = 256;
const READ_CHARACTERS = 256 * 1024;

/** Rows deleted in one go; the event loop is free between two. */
const PRUNE_ROWS = 2_000;

export type ChannelState = ReturnType<typeof openChannelState>;

/** The table of the event buffer: SQL only. Who writes when is the event log's part. Source: engine-runtime, "Durability and resume". */
export function openChannelState(db: DatabaseSync) {
  const insert = db.prepare(
    'INSERT INTO channel_state_snapshots (task_id, turn_id, type, timestamp, data) VALUES (?, ?, ?, ?, ?)',
  );
  const ofTask = db.prepare(
    'SELECT id, task_id, turn_id, type, data FROM channel_state_snapshots WHERE task_id = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?',
  );
  const ofAll = db.prepare(
    'SELECT id, task_id, turn_id, type, data FROM channel_state_snapshots WHERE id > ? AND id <= ? ORDER BY id LIMIT ?',
  );
  const last = db.prepare(
    "SELECT coalesce(max(seq), 0) AS id FROM sqlite_sequence WHERE name = 'channel_state_snapshots'",
  );
  const firstAfter = db.prepare('SELECT min(id) AS id FROM channel_state_snapshots WHERE timestamp > ?');
  const prune = db.prepare(`
    DELETE FROM channel_state_snapshots WHERE id IN (
      SELECT e.id FROM channel_state_snapshots e JOIN turns t ON t.turn_id = e.turn_id
      WHERE e.timestamp < ?1 AND t.ended_at < ?1 LIMIT ?2)`);

  function lastId(): number {
    const row = last.get();
    return row === undefined ? 0 : integer(row, 'id');
  }

  return {
    /** @returns the event's id. */
    insert(event: NewEvent): number {
      return Number(
        insert.run(event.task_id, event.turn_id, event.type, event.timestamp, event.data).lastInsertRowid,
      );
    },

    /** The next events with `after < id <= until`, of one task or of all; empty when there are none. */
    read(after: number, until: number, task_id?: string): StoredEvent[] {
      const rows =
        task_id === undefined
          ? ofAll.iterate(after, until, READ_EVENTS)
          : ofTask.iterate(task_id, after, until, READ_EVENTS);
      const batch: StoredEvent[] = [];
      let characters = 0;
      for (const row of rows) {
        const data = text(row, 'data');
        batch.push({
          id: integer(row, 'id'),
          task_id: text(row, 'task_id'),
          turn_id: text(row, 'turn_id'),
          type: text(row, 'type'),
          data,
        });
        characters += data.length;
        if (characters >= READ_CHARACTERS) break;
      }
      return batch;
    },

    /** Id of the newest event ever written, pruned or not; 0 in a new brain. */
    lastId,

    /** The cursor from which a reader gets every event later than `after` (Unix milliseconds). */
    cursorAfter(after: number): number {
      const row = firstAfter.get(after);
      return row === undefined || row.id === null ? lastId() : integer(row, 'id') - 1;
    },

    /** Deletes one portion of events of turns that ended before `ended_before`. @returns whether there may be more. */
    prune(ended_before: number): boolean {
      return prune.run(ended_before, PRUNE_ROWS).changes === PRUNE_ROWS;
    },
  };
}
