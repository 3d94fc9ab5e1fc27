import { describe, expect, it, onTestFinished } from 'vitest';
import { OrchestratorError } from '../src/errors.ts';
import { type LoopOptions, startLoop } from '../src/loops.ts';
import { createLog } from '../src/observe/log.ts';
import { until } from './support/wait.ts';

/** A loop on a clock that stands still until `tick`; notes how long each pause was to be. */
function loopOf(run: LoopOptions['run'], options: Partial<LoopOptions> = {}) {
  const ending = new AbortController();
  const pauses: number[] = [];
  let tick = () => {};
  const clock = {
    now: () => 0,
    wall: () => 0,
    sleep: (ms: number, signal: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        pauses.push(ms);
        tick = resolve;
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
        if (signal.aborted) reject(signal.reason);
      }),
  };
  const lines: string[] = [];
  const log = createLog('debug', { write: (line: string) => lines.push(line) });
  const { signal } = ending;
  const loop = startLoop({
    name: 'test',
    every_ms: 100,
    jitter: 0,
    random: () => 0,
    run,
    clock,
    log,
    signal,
    ...options,
  });
  onTestFinished(() => ending.abort());
  return { loop, pauses, lines, tick: () => tick(), end: () => ending.abort() };
}

describe('a background loop', () => {
  it('runs at once and after each pause, which varies both ways', async () => {
    let runs = 0;
    const numbers = [0, 1, 0.5];
    const { pauses, tick } = loopOf(
      async () => {
        runs += 1;
      },
      {
        jitter: 0.1,
        random: () => numbers[pauses.length] ?? 0,
      },
    );
    for (const n of [1, 2, 3]) {
      await until(`it ran ${n} times`, () => runs === n && pauses.length === n);
      tick();
    }
    expect(pauses.map(Math.round)).toEqual([90, 110, 100]);
  });

  it('never overlaps itself: kicked in a run, it runs once more right after it, without a pause', async () => {
    const ends: (() => void)[] = [];
    let side_by_side = 0;
    const { loop, pauses } = loopOf(async () => {
      side_by_side += 1;
      expect(side_by_side).toBe(1);
      await new Promise<void>((resolve) => ends.push(resolve));
      side_by_side -= 1;
    });
    loop.kick();
    loop.kick();
    ends[0]?.();
    await until('it runs again', () => ends.length === 2);
    expect(pauses).toEqual([]);
    ends[1]?.();
    await until('it rests', () => pauses.length === 1);
    loop.kick();
    await until('a kick ends the pause', () => ends.length === 3);
  });

  it('survives errors and says so; the database being away is no error', async () => {
    const errors = [new Error('boom'), new OrchestratorError('NOT_READY', 'away')];
    let runs = 0;
    const { lines, pauses, tick } = loopOf(async () => {
      const error = errors[runs];
      runs += 1;
      if (error !== undefined) throw error;
    });
    for (const n of [1, 2, 3]) {
      await until(`it ran ${n} times`, () => runs === n && pauses.length === n);
      tick();
    }
    const levels = lines.map((line) => JSON.parse(line)).map(({ level, loop }) => [level, loop]);
    expect(levels).toEqual([
      [50, 'test'],
      [20, 'test'],
    ]);
  });

  it('ends with its signal, after the run under way', async () => {
    let finish = () => {};
    let ended = false;
    const { loop, end } = loopOf(
      () =>
        new Promise<void>((resolve) => {
          finish = resolve;
        }),
    );
    void loop.ended.then(() => {
      ended = true;
    });
    end();
    await Promise.resolve();
    expect(ended).toBe(false);
    finish();
    await loop.ended;
  });
});
