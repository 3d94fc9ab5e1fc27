/** A slice of `npm run simulate`, that it repeats itself, and that it finds the bugs put into it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Bug } from './bugs.ts';
import { type Database, openDatabase } from './database.ts';
import { startPostgres } from './postgres.ts';
import { describeViolation } from './report.ts';
import { type RunOptions, run } from './run.ts';

/** What may be slow is the machine, not the run. */
const LONG = { timeout: 180_000 };
/** The seed that shows each bug first; what changes the runs may move it on by a few. */
const FOUND_BY: Record<Bug, number> = {
  'skip-fence': 1,
  'unknown-is-dead': 2,
  'no-deadline': 2,
  'no-lease-check': 2,
  'forget-epoch': 1,
  'no-second-look': 1,
  'no-takeover': 1,
};
const ENOUGH_SEEDS = 25;
/** Client calls in which a bug has to show. */
const BUG_OPS = 300;

let postgres: Awaited<ReturnType<typeof startPostgres>>;
let database: Database;
beforeAll(async () => {
  postgres = await startPostgres();
  database = await openDatabase(postgres.url);
});
afterAll(async () => {
  await database?.end();
  await postgres?.stop();
});

/** The story of the first broken rule; null where all hold. */
async function broken(options: RunOptions): Promise<string | null> {
  return describeViolation(options, await run(database, options));
}

/** The same of a run that shows bugs, without one, by seed: one seed may show several. */
const sound = new Map<number, string | null>();
async function soundness(seed: number): Promise<string | null> {
  const known = sound.get(seed);
  if (known !== undefined) return known;
  const story = await broken({ seed, ops: BUG_OPS });
  sound.set(seed, story);
  return story;
}

describe('the simulation', () => {
  it('does the same again from the same seed', LONG, async () => {
    const first = await run(database, { seed: 7, ops: 150 });
    const other = await run(database, { seed: 8, ops: 150 });
    const second = await run(database, { seed: 7, ops: 150 });
    expect(first.trace.lines(null)).toEqual(second.trace.lines(null));
    expect(first.trace.hash()).not.toBe(other.trace.hash());
  });

  it.each([1001, 1002, 1003, 1004, 1005])('breaks no rule: seed %i', LONG, async (seed) => {
    expect(await broken({ seed, ops: 400 })).toBeNull();
  });

  it.each(Object.entries(FOUND_BY) as [Bug, number][])('finds the bug %s', LONG, async (bug, first) => {
    for (let seed = first; seed < first + ENOUGH_SEEDS; seed += 1) {
      const story = await broken({ seed, ops: BUG_OPS, bug });
      if (story === null) continue;
      expect(story).toContain(`--seed=${seed} --ops=${BUG_OPS} --bug=${bug}`);
      // It is the bug that was found.
      return expect(await soundness(seed)).toBeNull();
    }
    expect.fail(`${ENOUGH_SEEDS} seeds do not show it`);
  });
});
