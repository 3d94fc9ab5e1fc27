/**
 * The fence of an engine's folder (O22): the highest epoch that was ever meant to run there.
 *
 * The problem: an orchestrator may be frozen between deciding to start or end an engine and doing it, while
 * another takes its work over. When it continues, what it does comes too late and would hit its successor's
 * engine. The rule: whoever acts raises the fence to his epoch first and looks whether it is higher than that;
 * then, and again after anything that takes time, an epoch below the fence has no right to act.
 *
 * Raising is adding an empty file `epoch.{n}`; the highest name counts. So a late caller cannot lower the
 * fence, at whatever point it was frozen, and no lock is needed, which a frozen caller would hold for ever.
 */
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { StaleEpoch } from './contract.ts';
import { isSystemError } from './process.ts';

/** What else somebody may have put into the engines' folder is no engine. */
export const ENGINE_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The highest epoch seen in `folder`; 0 where there is none. */
export async function fenceOf(folder: string): Promise<number> {
  return Math.max(0, ...(await epochsIn(folder)));
}

/** The fence of each engine that has a folder in `root`, by engine id. */
export async function fencesIn(root: string): Promise<Map<string, number>> {
  const fences = new Map<string, number>();
  try {
    for (const engine_id of (await readdir(root)).filter((name) => ENGINE_ID.test(name))) {
      fences.set(engine_id, await fenceOf(join(root, engine_id)));
    }
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error;
  }
  return fences;
}

/** Refuses what is below the fence. */
export async function checkFence(folder: string, epoch: number): Promise<void> {
  const highest = await fenceOf(folder);
  if (highest > epoch) throw new StaleEpoch(epoch, highest);
}

/** Raises the fence to `epoch`; `folder` exists. Throws `StaleEpoch` where it is higher. */
export async function raiseFence(folder: string, epoch: number): Promise<void> {
  await writeFile(join(folder, nameOf(epoch)), '', { mode: 0o600 });
  await checkFence(folder, epoch);
  for (const lower of (await epochsIn(folder)).filter((seen) => seen < epoch)) {
    await rm(join(folder, nameOf(lower)), { force: true });
  }
}

const nameOf = (epoch: number) => `epoch.${epoch}`;

async function epochsIn(folder: string): Promise<number[]> {
  try {
    const names = await readdir(folder);
    return names.flatMap((name) => /^epoch\.(\d+)$/.exec(name)?.slice(1).map(Number) ?? []);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}
