import { mkdtemp, readdir, rm, stat, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { StaleEpoch } from '../../src/backends/contract.ts';
import { checkFence, fenceOf, raiseFence } from '../../src/backends/fence.ts';
import { openGraveyard } from '../../src/backends/graveyard.ts';

async function folder() {
  const path = await mkdtemp(join(tmpdir(), 'fence-test-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

describe('the fence of an engine', () => {
  it('is the highest epoch that anybody raised it to, whoever comes late or at the same moment', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1 }), async (epochs) => {
        const path = await folder();
        const results = await Promise.allSettled(epochs.map((epoch) => raiseFence(path, epoch)));
        const highest = Math.max(...epochs);
        expect(await fenceOf(path)).toBe(highest);
        for (const [n, result] of results.entries()) {
          if (epochs[n] === highest) expect(result.status).toBe('fulfilled');
          if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(StaleEpoch);
        }
        await expect(checkFence(path, highest - 1)).rejects.toThrow(StaleEpoch);
        await checkFence(path, highest);
        await raiseFence(path, highest + 1);
        expect(await readdir(path)).toEqual([`epoch.${highest + 1}`]);
      }),
      { numRuns: 30 },
    );
  });

  it('is nowhere where nothing was, and does not get in the way there', async () => {
    const path = join(await folder(), 'none');
    expect(await fenceOf(path)).toBe(0);
    await checkFence(path, 1);
  });
});

describe('the marks of destroyed engines', () => {
  it('are kept for a day', async () => {
    const path = join(await folder(), 'destroyed');
    const graveyard = openGraveyard(path);
    await graveyard.prune(Date.now());
    expect(await graveyard.has('ada')).toBe(false);
    await graveyard.mark('ada');
    await graveyard.mark('bob');
    const { mtimeMs } = await stat(join(path, 'bob'));
    const hour = 60 * 60;
    await utimes(join(path, 'ada'), mtimeMs / 1000 - 2 * hour, mtimeMs / 1000 - 2 * hour);
    await graveyard.prune(mtimeMs + 23 * hour * 1000);
    expect([await graveyard.has('ada'), await graveyard.has('bob')]).toEqual([false, true]);
  });

  it('are one for each call: to take one back leaves the others', async () => {
    const graveyard = openGraveyard(join(await folder(), 'destroyed'));
    const [outdated, rightful] = [await graveyard.mark('ada'), await graveyard.mark('ada')];
    await outdated();
    expect(await graveyard.has('ada')).toBe(true);
    await rightful();
    expect(await graveyard.has('ada')).toBe(false);
  });
});
