import { cpSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { openChannelState } from '../src/brain/channel_state.ts';
import { openEventLog } from '../src/brain/event_log.ts';
import { migrate } from '../src/brain/migrate.ts';
import { parseConfig } from '../src/config.ts';
import { environment, temporaryFolder } from './support/engine.ts';
import { type Stored, stored } from './support/stored.ts';

const folder = temporaryFolder();
const { migrations_dir } = parseConfig(environment(folder), folder);
let files = 0;

function openDatabase() {
  const path = join(folder, `${++files}.sqlite`);
  const db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL');
  return { path, db };
}

/** The migrations up to number `last`, as an older Engine has them. */
function copyMigrations(to: string, last: number): void {
  cpSync(migrations_dir, to, {
    recursive: true,
    filter: (file) => !/^\d{4}_/.test(basename(file)) || Number.parseInt(basename(file), 10) <= last,
  });
}

const event = (task_id: string, timestamp: number, text = 'ü\n\nid: 1\nevent: x') => ({
  task_id,
  turn_id: `turn of ${task_id}`,
  type: 'text_delta',
  timestamp,
  data: JSON.stringify({ task_id, timestamp: new Date(timestamp).toISOString(), text }),
});
const ALL = Number.MAX_SAFE_INTEGER;

it('gives from any id, to any id, of one task or all, exactly what was appended', async () => {
  const task = fc.constantFrom('a', 'b', 'c');
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ commits: fc.boolean(), tasks: fc.array(task, { maxLength: 300 }) }), {
        maxLength: 6,
      }),
      fc.array(fc.tuple(fc.nat(400), fc.nat(400), fc.option(task, { nil: undefined })), { minLength: 20 }),
      async (groups, ranges) => {
        const { path, db } = openDatabase();
        migrate(db, migrations_dir, 0);
        const log = openEventLog(db, {
          path,
          ttl_ms: 1,
          now: () => 0,
          onError: (error) => expect(error).toBeNull(),
        });
        const appended: string[] = [];
        for (const { commits, tasks } of groups) {
          const before = appended.length;
          appended.push(...tasks);
          const events = tasks.map((name, index) => event(name, before + index));
          if (commits) expect(log.commit(events)).toEqual(tasks.map((_, index) => before + index + 1));
          else for (const one of events) log.append(one);
        }
        while (log.lastId() < appended.length)
          await log.changed(undefined, 1_000, new AbortController().signal);

        for (const [after, until, task_id] of ranges) {
          const read: Stored[] = [];
          for (let cursor = after; ; ) {
            const stretch = log.read(cursor, until, task_id);
            if (stretch === undefined) break;
            read.push(...stored(stretch));
            expect(read.at(-1)?.id).toBe(stretch.last_id);
            cursor = stretch.last_id;
          }
          const expected = appended
            .map((name, index) => ({ name, id: index + 1 }))
            .filter(({ name, id }) => id > after && id <= until && name === (task_id ?? name));
          expect(read.map(({ id, data }) => ({ name: data.task_id, id }))).toEqual(expected);
          expect(log.cursorAfter(after)).toBe(Math.min(after + 1, appended.length));
        }
        log.close();
        db.close();
      },
    ),
    { numRuns: 30 },
  );
});

it('shows nothing before the disk has it', async () => {
  const { path, db } = openDatabase();
  migrate(db, migrations_dir, 0);
  const log = openEventLog(db, {
    path,
    ttl_ms: 1,
    now: () => 0,
    onError: (error) => expect(error).toBeNull(),
  });
  log.append(event('a', 1));
  expect(log.lastId()).toBe(0);
  expect(log.read(0, ALL)).toBeUndefined();
  await log.changed('a', 1_000, new AbortController().signal);
  expect(stored(log.read(0, ALL))).toHaveLength(1);

  // What must be there at once takes with it what waits.
  log.append(event('a', 2));
  expect(log.commit([event('b', 3)])).toEqual([3]);
  expect(stored(log.read(0, ALL)).map(({ id }) => id)).toEqual([1, 2, 3]);
  log.close();
  db.close();
});

it('carries the events of an older brain over, to the byte, and goes on counting', () => {
  const { path, db } = openDatabase();
  const older = join(folder, 'older');
  copyMigrations(older, 6);
  migrate(db, older, 0);
  const insert = db.prepare(
    'INSERT INTO channel_state_snapshots (task_id, turn_id, type, timestamp, data) VALUES (?, ?, ?, ?, ?)',
  );
  const events = [event('a', 1), event('b', 2), event('a', 3, "%s %d '' \\"), event('a', 4)];
  for (const { task_id, turn_id, type, timestamp, data } of events)
    insert.run(task_id, turn_id, type, timestamp, data);
  db.exec('DELETE FROM channel_state_snapshots WHERE id = 4');
  migrate(db, migrations_dir, 0);

  const log = openEventLog(db, { path, ttl_ms: 1, now: () => 0, onError: () => {} });
  expect(log.lastId()).toBe(4);
  expect(stored(log.read(0, ALL)).map(({ id, data }) => ({ id, data: JSON.stringify(data) }))).toEqual(
    events.slice(0, 3).map(({ data }, index) => ({ id: index + 1, data })),
  );
  expect(log.commit([event('a', 5)])).toEqual([5]);
  log.close();
  db.close();
});

it('keeps counting where an older brain has no event left, and knows that they were there', () => {
  const { db } = openDatabase();
  const older = join(folder, 'emptied');
  copyMigrations(older, 6);
  migrate(db, older, 0);
  db.exec(`INSERT INTO channel_state_snapshots (task_id, turn_id, type, timestamp, data) VALUES ('a', 'a', 'x', 1, '{}');
    DELETE FROM channel_state_snapshots;
    INSERT INTO conversations (task_id, created_at, last_activity_at) VALUES ('a', 1, 1), ('b', 1, 1);
    INSERT INTO turns (turn_id, task_id, status, agent, request, metadata, started_at, ended_at, first_event_id, last_event_id)
    VALUES ('t', 'a', 'completed', '', '', '', 1, 9, 1, 1)`);
  migrate(db, migrations_dir, 0);
  const table = openChannelState(db);
  expect(table.lastId()).toBe(1);
  expect(['a', 'b', undefined].map((task_id) => table.pruned(task_id).id)).toEqual([1, 0, 1]);
  db.close();
});
