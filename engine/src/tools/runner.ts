import { errorFields, type Log } from '../observe/log.ts';
import type { ToolDef } from '../types.ts';
import { type Tool, type ToolContext, type ToolOutcome, WaitingForPerson } from './contract.ts';

/**
 * Runs one tool call. Whatever a tool does, throw or hang included, comes out as an outcome the model can
 * read; a tool can end neither the turn nor the Engine. The Engine does not repeat a failed call: that is the
 * model's to decide. Source: engine-runtime, "Execution".
 */
export type ToolRunner = {
  definitions: ToolDef[];
  /** Undefined for a name that no tool has. */
  find(name: string): Tool | undefined;
  /** @throws `context.signal.reason` when the turn was aborted, WaitingForPerson, and nothing else. */
  run(tool: Tool, input: unknown, context: ToolContext): Promise<ToolOutcome>;
};

/** A tool that has not answered by then is given up. */
const TIME_LIMIT_MS = 120_000;

export function createToolRunner(tools: Tool[], options: { log: Log; time_limit_ms?: number }): ToolRunner {
  const byName = new Map(tools.map((tool) => [tool.definition.name, tool]));

  return {
    definitions: tools.map((tool) => tool.definition),
    find: (name) => byName.get(name),

    async run(tool, input, context) {
      const turn = context.signal;
      turn.throwIfAborted();
      const limit_ms =
        tool.time_limit_ms === undefined ? (options.time_limit_ms ?? TIME_LIMIT_MS) : tool.time_limit_ms;
      const late = limit_ms === null ? undefined : AbortSignal.timeout(limit_ms);
      const signal = late === undefined ? turn : AbortSignal.any([turn, late]);
      try {
        const running = tool.run(input, { ...context, signal });
        return await (late === undefined ? running : Promise.race([running, rejectOnAbort(signal)]));
      } catch (error) {
        turn.throwIfAborted();
        if (error instanceof WaitingForPerson) throw error;
        if (late?.aborted && limit_ms !== null) {
          return { error: 'timeout', output: `No outcome after ${limit_ms / 1000} s.` };
        }
        options.log.error('A tool broke', { extra: { tool: tool.definition.name, ...errorFields(error) } });
        return { error: 'execution_failed', output: 'The tool broke unexpectedly.' };
      }
    },
  };
}

function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

/** Lets so many through at once, the others in the order in which they came. */
export function createSlots(free: number) {
  const queue: (() => void)[] = [];
  return async <Result>(work: () => Promise<Result>): Promise<Result> => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => queue.push(resolve));
    try {
      return await work();
    } finally {
      const next = queue.shift();
      if (next === undefined) free++;
      else next();
    }
  };
}
