import { errorFields, type Log } from '../observe/log.ts';
import type { ToolUseBlock } from '../types.ts';
import type { Tool, ToolOutcome } from './contract.ts';

/**
 * Runs the calls of one model answer: at once, up to the limit, each in its own time. Whatever a tool does,
 * throw or hang included, comes out as an outcome the model can read; a tool can end neither the turn nor the
 * Engine. The Engine does not repeat a failed call: that is the model's to decide. Source: engine-runtime,
 * "Execution".
 */
export type Dispatch = (calls: ToolUseBlock[], signal: AbortSignal) => Promise<ToolRun>[];

export type ToolRun = ToolOutcome & { call: ToolUseBlock; duration_ms: number };

/** A tool that has not answered by then is given up. */
const TIME_LIMIT_MS = 120_000;

/** @returns what gives, for each call, in the order of the calls, a promise of its outcome that never rejects. */
export function createDispatch(
  tools: Tool[],
  options: { concurrency: number; now: () => number; log: Log; time_limit_ms?: number },
): Dispatch {
  const byName = new Map(tools.map((tool) => [tool.definition.name, tool]));
  const time_limit_ms = options.time_limit_ms ?? TIME_LIMIT_MS;

  return (calls, signal) => {
    const slots = createSlots(options.concurrency);
    return calls.map(async (call) => {
      await slots.take();
      const started = options.now();
      try {
        const outcome = await runOne(call, signal);
        return { call, ...outcome, duration_ms: Math.max(0, options.now() - started) };
      } finally {
        slots.giveBack();
      }
    });
  };

  async function runOne(call: ToolUseBlock, turn: AbortSignal): Promise<ToolOutcome> {
    const tool = byName.get(call.name);
    if (tool === undefined) {
      return {
        error: 'not_found',
        output: `There is no tool ${call.name}. Tools: ${[...byName.keys()].join(', ')}.`,
      };
    }
    if (turn.aborted) return INTERRUPTED;
    const late = AbortSignal.timeout(time_limit_ms);
    const signal = AbortSignal.any([turn, late]);
    try {
      return await Promise.race([tool.run(call.input, { signal }), rejectOnAbort(signal)]);
    } catch (error) {
      if (turn.aborted) return INTERRUPTED;
      if (late.aborted) return { error: 'timeout', output: `No outcome after ${time_limit_ms / 1000} s.` };
      options.log.error('A tool broke', { extra: { tool: call.name, ...errorFields(error) } });
      return { error: 'execution_failed', output: 'The tool broke unexpectedly.' };
    }
  }
}

const INTERRUPTED: ToolOutcome = { error: 'interrupted', output: 'The turn ended before this call did.' };

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

function createSlots(free: number) {
  const queue: (() => void)[] = [];
  return {
    async take(): Promise<void> {
      if (free > 0) free--;
      else await new Promise<void>((resolve) => queue.push(resolve));
    },
    giveBack(): void {
      const next = queue.shift();
      if (next === undefined) free++;
      else next();
    },
  };
}
