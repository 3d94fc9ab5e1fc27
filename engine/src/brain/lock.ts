import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineExit } from '@september/contract';
import { StartError } from '../errors.ts';

/**
 * One process per brain.
 *
 * Two Engines on one file would both think a task is free and both write its history. A pid file does not
 * help: it outlives `kill -9`. So the brain has a companion file, `<brain>.lock`, itself an SQLite file that
 * stays empty, on which the holder keeps an exclusive transaction open: that is a lock of the operating
 * system, which ends with the process however it ends. Not on the brain itself, so that people can still read
 * it while the Engine runs.
 */
export type BrainLock = { release(): void };

/** A predecessor that was just told to stop may need this long to close its files. */
const WAIT_MS = 5_000;
const RETRY_MS = 50;
const SQLITE_BUSY = 5;

/** @throws StartError `BRAIN_LOCKED` when another process keeps the brain. */
export async function lockBrain(brain_path: string): Promise<BrainLock> {
  const file = new DatabaseSync(`${brain_path}.lock`, { timeout: 0 });
  for (let waited = 0; ; waited += RETRY_MS) {
    try {
      file.exec('BEGIN EXCLUSIVE');
      return { release: () => file.close() };
    } catch (error) {
      if (!isBusy(error)) throw error;
      if (waited >= WAIT_MS) {
        file.close();
        throw new StartError(
          EngineExit.BRAIN_LOCKED,
          `Another process has the brain ${brain_path} open. Stop it, or give this Engine another SQLITE_DB_PATH.`,
        );
      }
    }
    await sleep(RETRY_MS);
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY;
}
