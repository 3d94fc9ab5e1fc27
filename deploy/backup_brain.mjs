/**
 * Copies a brain while its engine works, and writes the copy to standard output. Runs in a container of the Engine's
 * image, for backup.sh: /data is the engine's volume, /run/september an empty one.
 *
 * SQLite's online backup, since a copy of the file alone lacks what is still in its log. All pages in one step: copied in
 * several, it begins again whenever the engine writes, and under load it would not end.
 */
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { backup, DatabaseSync } from 'node:sqlite';
import { pipeline } from 'node:stream/promises';

const COPY = '/run/september/brain.sqlite';
const ALL_PAGES = 2 ** 31 - 1;
/** How long a writer may keep the brain from being read, milliseconds. */
const BUSY_MS = 30_000;

const brain = new DatabaseSync('/data/brain.sqlite', { timeout: BUSY_MS });
await backup(brain, COPY, { rate: ALL_PAGES });
brain.close();

const copy = new DatabaseSync(COPY);
// One file, without a log beside it.
copy.exec('PRAGMA journal_mode = DELETE');
const [{ integrity_check }] = copy.prepare('PRAGMA integrity_check(1)').all();
copy.close();
if (integrity_check !== 'ok') {
  console.error(`the copy is damaged: ${integrity_check}`);
  process.exit(1);
}
await pipeline(createReadStream(COPY), process.stdout);
await rm(COPY);
