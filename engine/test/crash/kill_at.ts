import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

/**
 * Loaded before the Engine (`node --import`): kills its own process at a chosen COMMIT.
 *
 * Between two commits of the brain nothing durable changes, so the points before and after each COMMIT are all the
 * places in which a kill can leave a brain. The test arms it while the Engine runs by writing the file
 * `KILL_AT_FILE` (`{count, when}`): the `count`-th COMMIT from then on is the one. That the fault has landed is
 * noted beside it in `.fired`.
 */
type Armed = { count: number; when: 'before' | 'after' };

const file = process.env.KILL_AT_FILE;
if (file === undefined) throw new Error('KILL_AT_FILE is not set');
let armed: Armed | undefined;

const exec = DatabaseSync.prototype.exec;
DatabaseSync.prototype.exec = function (this: DatabaseSync, sql: string) {
  if (sql !== 'COMMIT') return exec.call(this, sql);
  if (armed === undefined && existsSync(file)) {
    armed = JSON.parse(readFileSync(file, 'utf8'));
    rmSync(file);
  }
  const isNow = armed !== undefined && --armed.count === 0;
  if (isNow && armed?.when === 'before') die('before');
  exec.call(this, sql);
  if (isNow) die('after');
};

function die(when: string): never {
  writeFileSync(`${file}.fired`, when);
  process.kill(process.pid, 'SIGKILL');
  // The signal may take a moment; nothing may happen in it.
  for (;;);
}
