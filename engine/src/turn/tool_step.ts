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
import { type Permissions, questionOf, refusalOf } from '../permissions/permissions.ts';
import { type Ask, type Opened, type Tool, type ToolContext, WaitingForPerson } from '../tools/contract.ts';
import { createSlots, type ToolRunner } from '../tools/runner.ts';
import type { Finding, TextBlock, ToolUseBlock } from '../types.ts';
import { bringsOutside, toolCalls } from './history.ts';
import type { HookedCall, Hooks } from './hooks.ts';
import type { Decided, ThreadRecord } from './record.ts';

export type ToolStep = {
  brain: Brain;
  tools: ToolRunner;
  /** Names of the tools that the agent has. */
  allowed: string[];
  record: ThreadRecord;
  task_id: string;
  turn_id: string;
  hooks: Pick<Hooks, 'beforeTool' | 'afterTool'>;
  permissions: Permissions;
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

/** What a call may do, and why; `decided` is undefined where there was nothing to decide. */
type Permit = { opened: Opened; decided: Decided | undefined };

/** Two questions can stand before a call: one of the tool itself, one of the rules. */
const OWN_QUESTION = 0;
const PERMISSION = 1;

export async function runTools(asking: StoredMessage, step: ToolStep): Promise<'done' | 'waiting'> {
  const { brain, signal } = step;
  const calls = toolCalls(asking.content);
  const inSlot = createSlots(step.concurrency);
  const inHookSlot = createSlots(step.concurrency);
  /** Those that the hooks have let through. */
  const cleared = new Set<number>();
  const running = new Map<number, Promise<void>>();
  const parked = new Set<number>();
  const before = brain.messages.before(step.task_id, step.record.thread_id, asking.position);
  const after_outside = before !== undefined && bringsOutside(before.content);

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
    const permit = await permitted(row, call, tool);
    if (permit === 'waiting' || permit === 'settled') return permit;
    const gate = person(row, 'gate', OWN_QUESTION, tool.asks?.(call.input) ?? null, call);
    if (gate === 'waiting') return 'waiting';
    if (gate?.ask.kind === 'permission' && gate.said.answer !== 'yes') {
      return settle(row, 'done', {
        error: 'permission_denied',
        output: ['The user did not allow this.', gate.said.feedback ?? ''].join(' ').trim(),
      });
    }
    if (row.state === 'started') {
      const verdict = await afterCut(row, call, tool, permit);
      if (verdict !== 'run') return verdict;
    }
    return await inSlot(() => run(row, call, tool, permit, gate?.said));
  }

  /**
   * What the rules say, and where they ask, the person. Judged anew each time the call is taken up: rules may be
   * stricter since, and the disk another. A yes is for what was asked, nothing that has come since.
   */
  async function permitted(row: ToolCallRow, call: ToolUseBlock, tool: Tool): Promise<Permit | Verdict> {
    const asked = brain.hitl.about(row, 'gate', PERMISSION);
    if (asked !== undefined && asked.answered === null) return 'waiting';
    const findings = await step.permissions.judge(tool, call.input, after_outside);
    signal.throwIfAborted();
    const about = { tool: call.name, tool_call_id: call.id, input: call.input };
    const decided = (kind: Decided['kind'], because: Finding[], answer?: string): Decided => ({
      kind,
      data: { ...about, findings: because, ...(answer !== undefined && { answer }) },
    });
    const refuse = (because: Finding[], output: string, answer?: string): Verdict =>
      settle(
        row,
        'done',
        { error: 'permission_denied', output },
        0,
        decided('permission_denied', because, answer),
      );

    if (findings.some(({ decision }) => decision === 'deny')) return refuse(findings, refusalOf(findings));
    const remembered = findings.filter((finding) =>
      brain.remembered_permissions.covers(step.task_id, { tool: call.name, ...finding }),
    );
    const open = findings.filter((finding) => !remembered.includes(finding));
    const said = asked?.answered ?? undefined;
    const allowed = asked?.findings ?? [];
    if (said?.answer === 'no') {
      return refuse(allowed, ['The user did not allow this.', said.feedback ?? ''].join(' ').trim(), 'no');
    }
    const isNew = ({ danger, subject }: Finding) =>
      !allowed.some((one) => one.danger === danger && one.subject === subject);
    if (said === undefined && open.length > 0) {
      const ask: Ask = { kind: 'permission', question: questionOf(call.name, call.input, open) };
      person(row, 'gate', PERMISSION, ask, call, open, decided('permission_asked', open));
      return 'waiting';
    }
    // What was begun changes itself what it finds.
    if (row.state !== 'started' && open.some(isNew)) {
      return refuse(
        open,
        'What this would do has changed since the user was asked. Call it again, and they are asked anew.',
      );
    }
    const is_judged = findings.length > 0 || tool.acts !== undefined;
    return {
      opened: openedBy([...allowed, ...remembered]),
      decided: is_judged ? decided('permission_allowed', findings, said?.answer) : undefined,
    };
  }

  /** Hooks come first: what they block asks nobody. What has asked, or has begun, has passed them. */
  async function hookBefore(row: ToolCallRow, call: ToolUseBlock): Promise<string | undefined> {
    const has_passed =
      cleared.has(row.ordinal) ||
      row.state === 'started' ||
      brain.hitl.about(row, 'gate', PERMISSION) !== undefined ||
      brain.hitl.about(row, 'gate', OWN_QUESTION) !== undefined;
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
  async function afterCut(
    row: ToolCallRow,
    call: ToolUseBlock,
    tool: Tool,
    { opened, decided }: Permit,
  ): Promise<Verdict | 'run'> {
    const effect = tool.effect(call.input);
    if (effect === 'pure' || effect === 'idempotent') return 'run';
    const found = effect === 'checkable' ? await tool.check?.(call.input, context(row, opened)) : undefined;
    if (found === 'undone') return 'run';
    if (found !== undefined && found !== 'unknown') return settle(row, 'done', found, 0, decided);
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
    findings: Finding[] | null = null,
    decided?: Decided,
  ): { ask: Ask; said: Answered } | 'waiting' | null {
    if (ask === null) return null;
    const asked = brain.hitl.about(row, purpose, attempt);
    if (asked?.answered) return { ask, said: asked.answered };
    // One question at a time; the next call asks when this one is answered.
    if (asked === undefined && brain.hitl.waiting(step.task_id).length === 0) {
      const { message_id, ordinal } = row;
      const about =
        ask.kind === 'permission' ? { tool: call.name, input: call.input } : { tool: null, input: null };
      step.record.ask({ message_id, ordinal, purpose, attempt, findings, ...ask, ...about }, decided);
    }
    return 'waiting';
  }

  async function run(
    row: ToolCallRow,
    call: ToolUseBlock,
    tool: Tool,
    { opened, decided }: Permit,
    said?: Answered,
  ): Promise<Verdict> {
    // A call that waited for its slot may find the turn ended.
    signal.throwIfAborted();
    const started = step.now();
    const effect = tool.effect(call.input);
    if (effect === 'once' || effect === 'checkable') step.record.start(row);
    try {
      const ran = await step.tools.run(tool, call.input, { ...context(row, opened), answered: said });
      const outcome = tool.brings_outside ? { ...ran, outside: true as const } : ran;
      signal.throwIfAborted();
      const duration_ms = step.now() - started;
      const { outside: _, ...told } = outcome;
      const hook = await step.hooks.afterTool({ ...hooked(call), ...told }, signal);
      const whole = hook === undefined ? outcome : { ...outcome, hook };
      return settle(row, 'done', whole, duration_ms, decided);
    } catch (error) {
      if (error instanceof WaitingForPerson) return 'waiting';
      throw error;
    }
  }

  function context(row: ToolCallRow, opened: Opened): ToolContext {
    const { task_id, turn_id } = step;
    return { signal, task_id, turn_id, opened, key: row.key, ...step.contextOf(row, asking) };
  }

  function settle(
    row: ToolCallRow,
    state: 'done' | 'unknown',
    outcome: Outcome,
    duration_ms = 0,
    decided?: Decided,
  ): Verdict {
    step.record.settle(asking, row, state, outcome, Math.max(0, duration_ms), step.note, decided);
    return 'settled';
  }
}

/** What was named in a question that was answered with yes. */
function openedBy(findings: Finding[]): Opened {
  const opens = findings.flatMap(({ opens }) => (opens === undefined ? [] : [opens]));
  return {
    paths: opens.flatMap((one) => ('path' in one ? [one.path] : [])),
    hosts: opens.flatMap((one) => ('host' in one ? [one.host] : [])),
  };
}

function questionAfterCut(row: ToolCallRow, call: ToolUseBlock): string {
  return [
    `The Engine was stopped while ${call.name} ran (attempt ${row.attempt}), and nothing says whether it has happened.`,
    `Input: ${JSON.stringify(call.input).slice(0, 2_000)}.`,
    'Shall it run (again)?',
  ].join(' ');
}
