import { startModelServer } from '@september/model-server';
import { expect, it, onTestFinished } from 'vitest';
import { crashBench, type Point, SCENARIOS } from './crash/turns.ts';
import { temporaryFolder } from './support/engine.ts';

/**
 * `npm test` runs a few points; `npm run crash-turns` runs 200, or `CRASH_POINTS` of them from `CRASH_SEED` on, with
 * `CRASH_SCENARIO` all of one scenario.
 */
const POINTS = Number(process.env.CRASH_POINTS ?? 10);
const SEED = Number(process.env.CRASH_SEED ?? 1);
const SCENARIO = process.env.CRASH_SCENARIO;
/** More commits than the longest of the turns makes; a point beyond the end of its turn does not land. */
const MOST_COMMITS = 40;
const PER_POINT_MS = 15_000;

it(
  `a turn goes on after kill -9 wherever it lands: ${POINTS} points, seed ${SEED}`,
  async () => {
    const model = await startModelServer();
    onTestFinished(() => model.close());
    const bench = crashBench(temporaryFolder(), model);
    onTestFinished(() => bench.stop());
    const random = mulberry32(SEED);
    const scenarios = Object.keys(SCENARIOS).filter((name) => name === (SCENARIO ?? name));
    let landed = 0;
    for (let tries = 1; landed < POINTS; tries++) {
      const scenario = scenarios[tries % scenarios.length] ?? 'text';
      const point: Point = {
        scenario,
        count: 1 + Math.floor(random() * (scenario === 'text' ? 4 : MOST_COMMITS)),
        when: random() < 0.5 ? 'before' : 'after',
      };
      try {
        if (await bench.run(point)) landed += 1;
      } catch (error) {
        throw new Error(`seed ${SEED}, try ${tries}: ${JSON.stringify(point)}`, { cause: error });
      }
    }
    expect(landed).toBe(POINTS);
  },
  POINTS * PER_POINT_MS * 2,
);

/** A small generator of numbers in [0, 1), the same for the same seed. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
