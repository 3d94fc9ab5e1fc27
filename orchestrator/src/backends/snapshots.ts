/**
 * Copies of engines' data, beside the engines' folder: `{root}.snapshots/{engine_id}/{epoch}/`, so that nothing an
 * engine does reaches them.
 *
 * The hard part are callers that come late (see fence.ts), because a copy takes long. A snapshot is named by the epoch
 * it was made for and appears whole, by a rename; the highest name counts, so a late one is never seen. A revert copies
 * aside first, and moves both ways through its own folder; whoever comes after it removes that folder before anything
 * else, and from then on each of its moves fails.
 *
 * Moving in is several renames, so a revert that dies in between has done a half. That is for its caller to know, who
 * brings nothing up before it is done (`revert_due`).
 */
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { cp, lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { HitFailpoint } from '../failpoints.ts';
import { isSystemError } from './process.ts';

/** What lies in an engine's folder and is not its data: fence, record and log. */
const NOT_DATA = /^(epoch\.\d+|process\.json.*|engine\.log.*)$/;
const BRAIN = /^brain\.sqlite/;
const isData = (name: string) => !NOT_DATA.test(name);

/** Throws when the caller is outdated, or the engine runs. */
type Check = () => Promise<void>;

export type Snapshots = {
  /** Copies the data in `folder`, unless that has been done for `epoch`. */
  keep(engine_id: string, epoch: number, folder: string, check: Check): Promise<void>;
  /** Makes the data in `folder` what was kept last, at `epoch` or before; false where nothing was. */
  bringBack(engine_id: string, epoch: number, folder: string, check: Check): Promise<boolean>;
  /** Removes what was kept at `epoch` or before, and what others have left half done. */
  forget(engine_id: string, epoch: number): Promise<void>;
};

export function openSnapshots(root: string, failpoint: HitFailpoint): Snapshots {
  const placeOf = (engine_id: string) => join(root, engine_id);

  /** Epochs of the snapshots there are, the highest first. */
  async function epochsOf(engine_id: string): Promise<number[]> {
    const names = await namesIn(placeOf(engine_id));
    return names
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .sort((a, b) => b - a);
  }

  const remove = (engine_id: string, name: string) =>
    rm(join(placeOf(engine_id), name), { recursive: true, force: true, maxRetries: 3 });

  /** A folder to work in, after those of everybody else have been taken away. */
  async function workIn(engine_id: string): Promise<string> {
    for (const name of await namesIn(placeOf(engine_id))) {
      if (!/^\d+$/.test(name)) await remove(engine_id, name);
    }
    const work = join(placeOf(engine_id), `work.${randomUUID()}`);
    await mkdir(join(work, 'out'), { recursive: true, mode: 0o700 });
    return work;
  }

  return {
    async keep(engine_id, epoch, folder, check) {
      if ((await epochsOf(engine_id)).includes(epoch)) return;
      await check();
      const work = await workIn(engine_id);
      await copyData(folder, join(work, 'in'));
      failpoint('snapshot.copied');
      await check();
      await rename(join(work, 'in'), join(placeOf(engine_id), String(epoch)));
      await syncToDisk(placeOf(engine_id));
      for (const lower of (await epochsOf(engine_id)).filter((one) => one < epoch)) {
        await remove(engine_id, String(lower));
      }
      await remove(engine_id, basename(work));
    },

    async bringBack(engine_id, epoch, folder, check) {
      const [newest] = (await epochsOf(engine_id)).filter((one) => one <= epoch);
      if (newest === undefined) return false;
      await check();
      const work = await workIn(engine_id);
      await copyData(join(placeOf(engine_id), String(newest)), join(work, 'in'));
      failpoint('revert.copied');
      await check();
      await moveAll(folder, join(work, 'out'));
      failpoint('revert.swapping');
      await moveAll(join(work, 'in'), folder);
      await syncToDisk(folder);
      await remove(engine_id, basename(work));
      return true;
    },

    async forget(engine_id, epoch) {
      const later = (await epochsOf(engine_id)).filter((kept) => kept > epoch).map(String);
      for (const name of await namesIn(placeOf(engine_id))) {
        if (!later.includes(name)) await remove(engine_id, name);
      }
      if (later.length === 0) await rm(placeOf(engine_id), { recursive: true, force: true });
    },
  };
}

/**
 * Copies the data of `from`, where nobody writes, to `to`, which is new. Without what is no file: a pipe that an agent
 * has left would be read for ever. The brain is on the disk when this returns; the workspace as soon as the system
 * gets to it.
 */
async function copyData(from: string, to: string): Promise<void> {
  await cp(from, to, {
    recursive: true,
    verbatimSymlinks: true,
    preserveTimestamps: true,
    mode: constants.COPYFILE_FICLONE,
    async filter(source) {
      if (dirname(source) === from && !isData(basename(source))) return false;
      const found = await lstat(source);
      return found.isFile() || found.isDirectory() || found.isSymbolicLink();
    },
  });
  for (const name of (await readdir(to)).filter((name) => BRAIN.test(name))) {
    await syncToDisk(join(to, name));
  }
  await syncToDisk(to);
}

async function moveAll(from: string, to: string): Promise<void> {
  for (const name of (await readdir(from)).filter(isData)) await rename(join(from, name), join(to, name));
}

/** Has a file or folder on the disk. */
async function syncToDisk(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}
