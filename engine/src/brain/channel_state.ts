import type { DatabaseSync } from 'node:sqlite';
import { blob, integer, type Row, text, transaction } from './sqlite.ts';

/** An event on its way in; the brain gives the id. `data` is its JSON, `timestamp` Unix milliseconds. */
export type NewEvent = { task_id: string; turn_id: string; type: string; timestamp: number; data: string };

/** Events as they go over the wire, and the id of the last one. */
export type Stretch = { frames: Uint8Array; last_id: number };

/** The newest event that is no longer kept, its id and its time (Unix milliseconds); zeros where none was pruned. */
export type Pruned = { id: number; until: number };

/** What a reader takes at once: enough to be quick, small enough that no reader holds much memory. */
const READ_ROWS = 1_024;
const READ_BYTES = 256 * 1024;

/** Rows deleted in one go; the event loop is free between two. */
const PRUNE_ROWS = 2_000;

export type ChannelState = ReturnType<typeof openChannelState>;

/**
 * The table of the event buffer: SQL only. Who writes when is the event log's part. Source: engine-runtime,
 * "Durability and resume".
 *
 * A row is a run: events of one turn with consecutive ids, already in wire form, so that most of a replay is
 * copying. JSON holds no line break, so an empty line followed by `id:` is found only where a frame begins, and a
 * run can be cut at any id.
 */
export function openChannelState(db: DatabaseSync) {
  const insert = db.prepare(
    'INSERT INTO channel_state_snapshots (last_id, first_id, task_id, turn_id, last_timestamp, frames) VALUES (?, ?, ?, ?, ?, ?)',
  );
  const columns = 'last_id, first_id, frames';
  const ofTask = db.prepare(
    `SELECT ${columns} FROM channel_state_snapshots WHERE task_id = ? AND last_id > ? ORDER BY last_id LIMIT ?`,
  );
  const ofAll = db.prepare(
    `SELECT ${columns} FROM channel_state_snapshots WHERE last_id > ? ORDER BY last_id LIMIT ?`,
  );
  const last = db.prepare(
    "SELECT coalesce(max(seq), 0) AS id FROM sqlite_sequence WHERE name = 'channel_state_snapshots'",
  );
  const firstAfter = db.prepare(`
    SELECT first_id, frames FROM channel_state_snapshots
    WHERE last_id = (SELECT min(last_id) FROM channel_state_snapshots WHERE last_timestamp > ?)`);
  // Oldest first, so that what a task has left is always its newest.
  const prune = db.prepare(`
    DELETE FROM channel_state_snapshots WHERE last_id IN (
      SELECT e.last_id FROM channel_state_snapshots e JOIN turns t ON t.turn_id = e.turn_id
      WHERE e.last_timestamp < ?1 AND t.ended_at < ?1 ORDER BY e.last_id LIMIT ?2)
    RETURNING task_id, last_id, last_timestamp`);
  const notePruned = db.prepare(`
    UPDATE conversations SET pruned_event_id = max(pruned_event_id, ?2), pruned_until = max(pruned_until, ?3)
    WHERE task_id = ?1`);
  const prunedOf =
    'SELECT coalesce(max(pruned_event_id), 0) AS id, coalesce(max(pruned_until), 0) AS until FROM conversations';
  const prunedOfTask = db.prepare(`${prunedOf} WHERE task_id = ?`);
  /** Of all tasks: every stream of all asks for it with each of its reads. */
  let newest_pruned = toPruned(db.prepare(prunedOf).get());

  function lastId(): number {
    const row = last.get();
    return row === undefined ? 0 : integer(row, 'id');
  }

  return {
    /** Writes the events with the ids from `first_id` on, a row for each stretch of one turn. */
    insert(events: readonly NewEvent[], first_id: number): void {
      for (let from = 0; from < events.length; ) {
        const first = events[from];
        if (first === undefined) return;
        let frames = '';
        let timestamp = 0;
        let to = from;
        for (; to < events.length && events[to]?.turn_id === first.turn_id; to++) {
          const event = events[to] ?? first;
          frames += frame(first_id + to, event.type, event.data);
          timestamp = Math.max(timestamp, event.timestamp);
        }
        insert.run(
          first_id + to - 1,
          first_id + from,
          first.task_id,
          first.turn_id,
          timestamp,
          Buffer.from(frames),
        );
        from = to;
      }
    },

    /** The next events with `after < id <= until`, of one task or of all; undefined when there are none. */
    read(after: number, until: number, task_id?: string): Stretch | undefined {
      if (after >= until) return undefined;
      const rows =
        task_id === undefined ? ofAll.iterate(after, READ_ROWS) : ofTask.iterate(task_id, after, READ_ROWS);
      const runs: Uint8Array[] = [];
      let bytes = 0;
      let last_id = after;
      for (const row of rows) {
        const first_id = integer(row, 'first_id');
        if (first_id > until) break;
        const run_last_id = integer(row, 'last_id');
        let frames = blob(row, 'frames');
        if (run_last_id > until) frames = frames.subarray(0, startOf(until + 1, frames));
        if (first_id <= after) frames = frames.subarray(startOf(after + 1, frames));
        runs.push(frames);
        bytes += frames.length;
        last_id = Math.min(run_last_id, until);
        if (bytes >= READ_BYTES) break;
      }
      return runs.length === 0 ? undefined : { frames: Buffer.concat(runs, bytes), last_id };
    },

    /** Id of the newest event ever written, pruned or not; 0 in a new brain. */
    lastId,

    /** The cursor from which a reader gets every event later than `after` (Unix milliseconds). */
    cursorAfter(after: number): number {
      const row = firstAfter.get(after);
      if (row === undefined) return lastId();
      const index = timestamps(blob(row, 'frames')).findIndex((timestamp) => timestamp > after);
      return integer(row, 'first_id') + index - 1;
    },

    /** Deletes one portion of events of turns that ended before `ended_before`. @returns whether there may be more. */
    prune(ended_before: number): boolean {
      return transaction(db, () => {
        const rows = prune.all(ended_before, PRUNE_ROWS);
        for (const row of rows) {
          const [id, until] = [integer(row, 'last_id'), integer(row, 'last_timestamp')];
          notePruned.run(text(row, 'task_id'), id, until);
          newest_pruned = { id: Math.max(newest_pruned.id, id), until: Math.max(newest_pruned.until, until) };
        }
        return rows.length === PRUNE_ROWS;
      });
    },

    /** What is no longer kept, of one task or of all. */
    pruned: (task_id?: string): Pruned =>
      task_id === undefined ? newest_pruned : toPruned(prunedOfTask.get(task_id)),
  };
}

/** An event in wire form. JSON holds no line break, so one `data:` line is enough. Source: engine-api, "SSE events". */
export function frame(id: number, type: string, data: string): string {
  return `id: ${id}\nevent: ${type}\ndata: ${data}\n\n`;
}

/** The events of a stretch. `data` is their JSON. */
export function* parseFrames({ frames }: Stretch): Generator<{ id: number; type: string; data: string }> {
  for (const frame of Buffer.from(frames).toString().split('\n\n')) {
    const [id, type, data] = frame.split('\n').map((line) => line.slice(line.indexOf(': ') + 2));
    if (id !== undefined && type !== undefined && data !== undefined) yield { id: Number(id), type, data };
  }
}

/** Where in a run the frame of event `id` begins, which is not its first one. */
function startOf(id: number, frames: Uint8Array): number {
  const empty_line = Buffer.from(frames.buffer, frames.byteOffset, frames.length).indexOf(`\n\nid: ${id}\n`);
  if (empty_line < 0) throw new Error(`Event ${id} is missing in its run`);
  return empty_line + 2;
}

/** Of each event of a run, Unix milliseconds. */
function timestamps(frames: Uint8Array): number[] {
  return Buffer.from(frames)
    .toString()
    .split('\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => Date.parse(JSON.parse(line.slice('data: '.length)).timestamp));
}

function toPruned(row: Row | undefined): Pruned {
  return row === undefined ? { id: 0, until: 0 } : { id: integer(row, 'id'), until: integer(row, 'until') };
}
