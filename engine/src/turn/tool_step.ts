/**
 * Runs the tool calls of one model answer: side by side up to the limit, results in the order of the calls.
 *
 * It has no memory of its own: each call's row in the ledger says where it stands, so this same function begins
 * the calls, takes them up after a kill, and goes on when a person has answered. A call that has to ask does
 * not hold up the others; when nothing but questions is left it returns `waiting`, and whoever hears the answer
 * calls it again. Source: engine-runtime, "Execution" and "Human in the loop"; E15.
 */
import type { Brain } from '../brain/brain.ts';
import type { Answered, Purpose } from '../brain/hitl.ts';
import type { StoredMessage } from '../brain/messages.ts';
import type { Outcome, ToolCallRow } from '../brain/tool_calls.ts';
import { type Ask, type Tool, type ToolContext, WaitingForPerson } from '../tools/contract.ts';
import { createSlots, type ToolRunner } from '../tools/runner.ts';
import type { TextBlock, ToolUseBlock } from '../types.ts';
import { toolCalls } from './history.ts';
import type { HookedCall, Hooks } from './hooks.ts';
import type { ThreadRecord } from './record.ts';

export type ToolStep = {
  brain: Brain;
  tools: ToolRunner;
  /** Names of the tools that the agent has. */
  allowed: string[];
  record: ThreadRecord;
  task_id: string;
  turn_id: string;
  hooks: Pick<Hooks, 'beforeTool' | 'afterTool'>;
  /** Something the model is to be told with the results. */
  note: TextBlock | undefined;
  /** Calls of one answer that run at the same time. */
  concurrency: number;
  signal: AbortSignal;
  /** Ends the turn: everything that runs for it stops, and it fails with `error`. */
  end(error: unknown): void;
  /** Resolves when a person has answered, or withdrawn, a question of this task. */
  answered(): Promise<void>;
  /** What this very call may use, beside `signal`, `task_id`, `key` and what a person said. */
  contextOf(row: ToolCallRow, asking: StoredMessage): Pick<ToolContext, 'remember' | 'runAgent'>;
  now: () => number;
};

type Verdict = 'settled' | 'waiting';

export async function runTools(asking: StoredMessage, step: ToolStep): Promise<'done' | 'waiting'> {
  const { brain, signal } = step;
  const calls = toolCalls(asking.content);
  const inSlot = createSlots(step.concurrency);
  const inHookSlot = createSlots(step.concurrency);
  /** Those that the hooks have let through. */
  const cleared = new Set<number>();
  const running = new Map<number, Promise<void>>();
  const parked = new Set<number>();

  try {
    for (;;) {
      signal.throwIfAborted();
      const open = brain.tool_calls.ofMessage(asking.message_id).filter((row) => row.outcome === null);
      if (open.length === 0) return 'done';
      for (const row of open) {
        const call = calls[row.ordinal];
        if (call === undefined || running.has(row.ordinal) || parked.has(row.ordinal)) continue;
        const { ordinal } = row;
        const advanced = advance(row, call).then((verdict) => {
          running.delete(ordinal);
          if (verdict === 'waiting') parked.add(ordinal);
        });
        running.set(ordinal, advanced);
      }
      if (running.size === 0) {
        if (brain.hitl.waiting(step.task_id).length > 0) return 'waiting';
        // Answered meanwhile: the call goes on, or the next one asks.
        parked.clear();
        continue;
      }
      const changes = [...running.values()];
      if (parked.size > 0) changes.push(step.answered().then(() => parked.clear()));
      await Promise.race(changes);
    }
  } catch (error) {
    // Nothing may be said for a turn after its last event: the others stop, and are waited for.
    step.end(error);
    await Promise.allSettled(running.values());
    throw error;
  }

  /** Takes one call as far as it goes now. */
  async function advance(row: ToolCallRow, call: ToolUseBlock): Promise<Verdict> {
    if (call.invalid_input !== undefined) {
      return settle(row, 'done', {
        error: 'invalid_input',
        output: `The input is not a JSON object: ${call.invalid_input.slice(0, 1_000)}`,
      });
    }
    // A model may name any tool it has ever heard of; shown to it were these.
    const tool = step.allowed.includes(call.name) ? step.tools.find(call.name) : undefined;
    if (tool === undefined) {
      return settle(row, 'done', {
        error: 'not_found',
        output: `You have no tool ${call.name}. Your tools: ${step.allowed.join(', ')}.`,
      });
    }

    const blocked = await hookBefore(row, call);
    if (blocked !== undefined) {
      return settle(row, 'done', { error: 'blocked_by_hook', output: blocked });
    }
    const gate = person(row, 'gate', 0, tool.asks?.(call.input) ?? null, call);
    if (gate === 'waiting') return 'waiting';
    if (gate?.ask.kind === 'permission' && gate.said.answer !== 'yes') {
      return settle(row, 'done', {
        error: 'permission_denied',
        output: ['The user did not allow this.', gate.said.feedback ?? ''].join(' ').trim(),
      });
    }
    if (row.state === 'started') {
      const verdict = await afterCut(row, call, tool);
      if (verdict !== 'run') return verdict;
    }
    return await inSlot(() => run(row, call, tool, gate?.said));
  }

  /** Hooks come first: what they block asks nobody. What has asked, or has begun, has passed them. */
  async function hookBefore(row: ToolCallRow, call: ToolUseBlock): Promise<string | undefined> {
    const has_passed =
      cleared.has(row.ordinal) || row.state === 'started' || brain.hitl.about(row, 'gate', 0) !== undefined;
    if (has_passed) return undefined;
    const blocked = await inHookSlot(() => step.hooks.beforeTool(hooked(call), signal));
    signal.throwIfAborted();
    if (blocked === undefined) cleared.add(row.ordinal);
    return blocked;
  }

  function hooked(call: ToolUseBlock): HookedCall {
    const { task_id, turn_id } = step;
    return { task_id, turn_id, tool_call_id: call.id, tool: call.name, input: call.input };
  }

  /** What to do with a call that was cut while it ran, so that it happens once. */
  async function afterCut(row: ToolCallRow, call: ToolUseBlock, tool: Tool): Promise<Verdict | 'run'> {
    const effect = tool.effect(call.input);
    if (effect === 'pure' || effect === 'idempotent') return 'run';
    const found = effect === 'checkable' ? await tool.check?.(call.input, context(row)) : undefined;
    if (found === 'undone') return 'run';
    if (found !== undefined && found !== 'unknown') return settle(row, 'done', found);
    const ask: Ask = { kind: 'permission', question: questionAfterCut(row, call) };
    const again = person(row, 'again', row.attempt, ask, call);
    if (again === 'waiting') return 'waiting';
    if (again?.said.answer === 'yes') return 'run';
    return settle(row, 'unknown', {
      error: 'interrupted',
      output:
        'The Engine was stopped while this call ran. Whether it has happened is not known, and the user did not want it run again.',
    });
  }

  /** What the person said to `ask`; asks where nobody has. Null when there is nothing to ask. */
  function person(
    row: ToolCallRow,
    purpose: Purpose,
    attempt: number,
    ask: Ask | null,
    call: ToolUseBlock,
  ): { ask: Ask; said: Answered } | 'waiting' | null {
    if (ask === null) return null;
    const asked = brain.hitl.about(row, purpose, attempt);
    if (asked?.answered) return { ask, said: asked.answered };
    // One question at a time; the next call asks when this one is answered.
    if (asked === undefined && brain.hitl.waiting(step.task_id).length === 0) {
      const { message_id, ordinal } = row;
      const about =
        ask.kind === 'permission' ? { tool: call.name, input: call.input } : { tool: null, input: null };
      step.record.ask({ message_id, ordinal, purpose, attempt, ...ask, ...about });
    }
    return 'waiting';
  }

  async function run(row: ToolCallRow, call: ToolUseBlock, tool: Tool, said?: Answered): Promise<Verdict> {
    // A call that waited for its slot may find the turn ended.
    signal.throwIfAborted();
    const started = step.now();
    const effect = tool.effect(call.input);
    if (effect === 'once' || effect === 'checkable') step.record.start(row);
    try {
      const outcome = await step.tools.run(tool, call.input, { ...context(row), answered: said });
      signal.throwIfAborted();
      const duration_ms = step.now() - started;
      const hook = await step.hooks.afterTool({ ...hooked(call), ...outcome }, signal);
      return settle(row, 'done', hook === undefined ? outcome : { ...outcome, hook }, duration_ms);
    } catch (error) {
      if (error instanceof WaitingForPerson) return 'waiting';
      throw error;
    }
  }

  function context(row: ToolCallRow): ToolContext {
    const { task_id, turn_id } = step;
    const opened = { paths: [], hosts: [] };
    return { signal, task_id, turn_id, opened, key: row.key, ...step.contextOf(row, asking) };
  }

  function settle(row: ToolCallRow, state: 'done' | 'unknown', outcome: Outcome, duration_ms = 0): Verdict {
    step.record.settle(asking, row, state, outcome, Math.max(0, duration_ms), step.note);
    return 'settled';
  }
}

function questionAfterCut(row: ToolCallRow, call: ToolUseBlock): string {
  return [
    `The Engine was stopped while ${call.name} ran (attempt ${row.attempt}), and nothing says whether it has happened.`,
    `Input: ${JSON.stringify(call.input).slice(0, 2_000)}.`,
    'Shall it run (again)?',
  ].join(' ');
}
