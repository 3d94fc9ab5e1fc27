/**
 * The data folder of a development run: is it fit to work in, and are we alone in it?
 *
 * Two orchestrators on one folder would share a database server and engine processes and end each other's.
 * The lock is one that the operating system gives back when its holder dies, however it dies: SQLite's, on an
 * empty file. A pid file would need guesses about recycled ids.
 */
import { constants } from 'node:fs';
import { access, mkdir, readFile, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';

/** A new database takes about 60 MB, an engine a few; below this a start would fail in the middle. Bytes. */
const MIN_FREE_BYTES = 200 * 2 ** 20;
/** A wrapper whose npm was killed notices within this time, milliseconds. */
const NOTICE_TIMEOUT_MS = 1_500;
/** How long a run that is just ending may take to leave the folder, milliseconds. */
const LEAVE_TIMEOUT_MS = 15_000;
/** SQLite's result code SQLITE_BUSY: somebody else holds the lock. */
const SQLITE_BUSY = 5;

/** Something about the machine stands in the way of a start. `message` is one line and says what to do. */
export class CannotStart extends Error {
  override name = 'CannotStart';
}

const Holder = z.object({ pid: z.int(), launcher_pid: z.int(), url: z.string() });
type Holder = z.infer<typeof Holder>;

/** Makes the folder when missing; refuses one that cannot be written to or has no room. */
export async function prepareDataFolder(folder: string, min_free_bytes = MIN_FREE_BYTES): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await access(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new CannotStart(
      `The data folder ${folder} cannot be written to (${code}): make it writable, or name another one with ORCH_DATA_DIR.`,
    );
  }
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < min_free_bytes) {
    const free = Math.floor((bavail * bsize) / 2 ** 20);
    throw new CannotStart(
      `The disk that holds ${folder} has only ${free} MB free and ${Math.ceil(min_free_bytes / 2 ** 20)} MB are needed: free some, or name another folder with ORCH_DATA_DIR.`,
    );
  }
}

/**
 * Takes the folder for this process until `release` or its end. A holder whose launcher (npm's wrapper) is
 * dead is ending by itself, so it is waited for; any other means that a run is under way.
 */
export async function lockDataFolder(folder: string, url: string): Promise<{ release(): void }> {
  const lock = new DatabaseSync(join(folder, 'lock'));
  const holderFile = join(folder, 'orchestrator.json');
  if (!tryLock(lock, NOTICE_TIMEOUT_MS)) {
    const holder = await readHolder(holderFile);
    if (holder === null || isAlive(holder.launcher_pid) || !tryLock(lock, LEAVE_TIMEOUT_MS)) {
      lock.close();
      const who = holder ? ` (pid ${holder.pid}, ${holder.url})` : '';
      throw new CannotStart(
        `An orchestrator already runs in ${folder}${who}: use it, stop it, or name another folder with ORCH_DATA_DIR.`,
      );
    }
  }
  const holder: Holder = { pid: process.pid, launcher_pid: process.ppid, url };
  await writeFile(holderFile, JSON.stringify(holder));
  return { release: () => lock.close() };
}

function tryLock(lock: DatabaseSync, wait_ms: number): boolean {
  try {
    lock.exec(`PRAGMA busy_timeout = ${wait_ms}`);
    lock.exec('BEGIN EXCLUSIVE');
    return true;
  } catch (error) {
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return false;
    throw error;
  }
}

async function readHolder(file: string): Promise<Holder | null> {
  const text = await readFile(file, 'utf8').catch(() => 'null');
  const parsed = Holder.safeParse(JSON.parse(text));
  return parsed.success ? parsed.data : null;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
