import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Log } from '../../src/observe/log.ts';
import { defineTool } from '../../src/tools/contract.ts';
import { createSlots, createToolRunner } from '../../src/tools/runner.ts';
import { toolContext } from '../support/tool_context.ts';

const context = toolContext();

describe('slots', () => {
  it('let at most so many through, the others in the order in which they came, also after one that failed', async () => {
    const inSlot = createSlots(3);
    const begun: number[] = [];
    const end: (() => void)[] = [];
    const work = (n: number) => async () => {
      begun.push(n);
      await new Promise<void>((resolve) => {
        end[n] = resolve;
      });
      if (n === 1) throw new Error('failed');
      return n;
    };
    const settled = Promise.allSettled([0, 1, 2, 3, 4].map((n) => inSlot(work(n))));
    await expect.poll(() => begun).toEqual([0, 1, 2]);
    end[2]?.();
    await expect.poll(() => begun).toEqual([0, 1, 2, 3]);
    end[1]?.();
    await expect.poll(() => begun).toEqual([0, 1, 2, 3, 4]);
    for (const n of [0, 3, 4]) end[n]?.();
    expect((await settled).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
      'fulfilled',
    ]);
  });
});

describe('the runner', () => {
  const logged: string[] = [];
  const note = (message: string) => void logged.push(message);
  const log: Log = { debug: note, info: note, warn: note, error: note, named: () => log };
  const tool = (name: string, run: () => Promise<never>) =>
    defineTool({ name, description: '', effect: 'once', input: z.object({}), run });

  it('turns whatever a tool does into an outcome', async () => {
    const tools = [
      tool('throws', async () => {
        throw new Error('secret path /home/x');
      }),
      tool('hangs', () => new Promise(() => {})),
    ];
    const runner = createToolRunner(tools, { log, time_limit_ms: 30 });
    const outcomes = await Promise.all(tools.map((tool) => runner.run(tool, {}, context)));
    expect(outcomes.map((outcome) => outcome.error)).toEqual(['execution_failed', 'timeout']);
    expect(JSON.stringify(outcomes)).not.toContain('/home/x');
    expect(logged).toEqual(['A tool broke']);
  });

  it('gives a tool up with its turn, and starts none after that', async () => {
    let started = 0;
    const counted = tool('counted', () => {
      started++;
      return new Promise(() => {});
    });
    const turn = new AbortController();
    const runner = createToolRunner([counted], { log });
    const cut = runner.run(counted, {}, { ...context, signal: turn.signal });
    await expect.poll(() => started).toBe(1);
    turn.abort(new Error('over'));
    await expect(cut).rejects.toThrow('over');
    await expect(runner.run(counted, {}, { ...context, signal: turn.signal })).rejects.toThrow('over');
    expect(started).toBe(1);
  });
});
