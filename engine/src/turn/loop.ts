import type { Brain } from '../brain/brain.ts';
import type { ToolCallRow } from '../brain/tool_calls.ts';
import type { Agent, Catalog } from '../catalog/catalog.ts';
import { type Herald, HeraldError, THINKING_TOKENS } from '../herald/contract.ts';
import type { Schema } from '../json_schema.ts';
import type { Log } from '../observe/log.ts';
import type { Permissions } from '../permissions/permissions.ts';
import { type ToolOutcome, WaitingForPerson } from '../tools/contract.ts';
import type { ToolRunner } from '../tools/runner.ts';
import type { ContentBlock, TextBlock } from '../types.ts';
import type { CacheMonitor } from './cache_monitor.ts';
import { type Closing, close, endsAtOnce, lastAnswer } from './closing.ts';
import type { Contexts, Thread as ContextThread } from './context.ts';
import { type Guards, REPEAT_WARNING, REPEATS_STOPPED, repeatedCall } from './guards.ts';
import { bringsOutside, toolCalls } from './history.ts';
import type { Hooks } from './hooks.ts';
import { type BlockCounter, callModel } from './model_call.ts';
import type { ThreadRecord, TurnRecord } from './record.ts';
import { outcomeOfFailure } from './sub_agent.ts';
import { runTools, type ToolStep } from './tool_step.ts';
import { notesTail, writeNote } from './working_memory.ts';

/**
 * The agent loop: call the model, run the tools it asks for, give it the results, until it asks for none.
 *
 * It has no state of its own. What comes next follows from the last message of the thread: one of the user, or
 * a row of results, wants a model call; an answer with tool calls wants those calls run; one without ends the
 * thread, when nothing stands against it (closing.ts). So a turn that was killed, or that waited for a person, goes on by running the same loop again.
 * Source: engine-runtime, "Agent loop", "Many agents"; E15, E19.
 */
export type Turn = {
  brain: Brain;
  catalog: Catalog;
  herald: Pick<Herald, 'complete' | 'model' | 'maxCost'>;
  contexts: Contexts;
  guards: Guards;
  cache_monitor: CacheMonitor | undefined;
  tools: ToolRunner;
  hooks: Hooks;
  permissions: Permissions;
  record: TurnRecord;
  task_id: string;
  turn_id: string;
  blocks: BlockCounter;
  thinking: boolean;
  /** Not planned first. */
  direct: boolean;
  /** Of the final answer (E4). */
  output_schema: Schema | undefined;
  limits: {
    max_tokens: number;
    tool_concurrency: number;
    /** `TOKEN_BUDGET_ENABLED`. */
    continue_cut_answers: boolean;
  };
  /** Aborts the turn; its reason is what the turn fails with. */
  signal: AbortSignal;
  /** Aborts it: everything that runs for it stops, and it fails with `error`. */
  end(error: unknown): void;
  log: Log;
  answered(): Promise<void>;
  now: () => number;
};

/** How deep sub-agents may start sub-agents (E19). */
const MAX_DEPTH = 3;

type Thread = { agent: Agent; record: ThreadRecord; depth: number };

/**
 * Runs the turn's own thread.
 * @returns `waiting` when it cannot go on before a person answers, else it is complete and recorded.
 * @throws what the turn fails with.
 */
export async function runTurn(turn: Turn, agent: Agent): Promise<'completed' | 'waiting'> {
  const own = { agent, record: turn.record.thread(''), depth: 0 };
  await turn.contexts.begin(conversation(turn, own), turn.direct, turn.signal);
  return await runThread(turn, own);
}

async function runThread(turn: Turn, thread: Thread): Promise<'completed' | 'waiting'> {
  const { brain, task_id, signal } = turn;
  for (;;) {
    signal.throwIfAborted();
    const last = brain.messages.last(task_id, thread.record.thread_id);
    if (last === undefined) throw new Error('A thread has no message');
    if (last.role === 'user') {
      if (await askModel(turn, thread, last.position)) return 'completed';
    } else if (toolCalls(last.content).length === 0) {
      if (await close(closingOf(turn, thread), last)) return 'completed';
    } else {
      const answers = brain.messages.answers(turn.turn_id, thread.record.thread_id, REPEATS_STOPPED);
      const repeated = turn.guards.repeated(answers.map(({ content }) => toolCalls(content)));
      if (repeated === 'stop') throw repeatedCall();
      const note = repeated === 'warn' ? REPEAT_WARNING : undefined;
      if ((await runTools(last, toolStep(turn, thread, note))) === 'waiting') return 'waiting';
    }
  }
}

/**
 * A context that the provider finds too large is condensed, and asked again once.
 * @returns whether the answer has ended the thread.
 */
async function askModel(turn: Turn, thread: Thread, position: number): Promise<boolean> {
  const { contexts, signal } = turn;
  const { record } = thread;
  const shown = conversation(turn, thread);
  const { call, answer } = await askOnce(turn, shown, position).catch(async (error: unknown) => {
    if (!(error instanceof HeraldError && error.code === 'CONTEXT_OVERFLOW')) throw error;
    await contexts.shrink(shown, signal);
    return askOnce(turn, shown, position);
  });
  const alert = turn.cache_monitor?.note(answer.usage);
  if (alert !== undefined) record.emit({ type: 'cache_hit_ratio_alert', ...alert });
  const ends = toolCalls(answer.content).length === 0 && endsAtOnce(closingOf(turn, thread), answer);
  record.answer(call, answer, ends);
  return ends;
}

function conversation({ task_id, turn_id, herald }: Turn, { agent, record }: Thread): ContextThread {
  return { task_id, turn_id, record, agent, model: agent.model ?? herald.model };
}

async function askOnce(turn: Turn, thread: ContextThread, position: number) {
  const { contexts, guards, herald, limits, thinking, signal } = turn;
  const { record, model } = thread;
  const { estimated_tokens, ...context } = await contexts.assemble(thread, signal);
  const max_output_tokens = limits.max_tokens + (thinking ? THINKING_TOKENS : 0);
  guards.beforeCall(
    {
      input_tokens: estimated_tokens,
      max_output_tokens,
      max_cost_usd: herald.maxCost(model, estimated_tokens, max_output_tokens),
    },
    turn.record.spent(),
  );
  return await callModel({
    herald,
    request: {
      ...context,
      model,
      max_tokens: limits.max_tokens,
      thinking,
      output_schema: schemaOf(turn, record),
      signal,
    },
    blocks: turn.blocks,
    record,
    position,
  });
}

function closingOf(turn: Turn, { record }: Thread): Closing {
  const { brain, task_id, turn_id, hooks, limits, signal } = turn;
  const isOwn = record.thread_id === '';
  return {
    brain,
    record,
    turn_id,
    continues: limits.continue_cut_answers,
    output_schema: schemaOf(turn, record),
    askHooks:
      isOwn && hooks.watches_stop
        ? (answer) => hooks.atStop({ task_id, turn_id, ...answer }, signal)
        : undefined,
  };
}

/** The final answer is the turn's; what sub-agents say is for whoever asked them. */
const schemaOf = ({ output_schema }: Turn, { thread_id }: ThreadRecord) =>
  thread_id === '' ? output_schema : undefined;

function toolStep(turn: Turn, thread: Thread, note: TextBlock | undefined): ToolStep {
  return {
    brain: turn.brain,
    tools: turn.tools,
    allowed: thread.agent.tools,
    record: thread.record,
    note,
    task_id: turn.task_id,
    turn_id: turn.turn_id,
    hooks: turn.hooks,
    permissions: turn.permissions,
    concurrency: turn.limits.tool_concurrency,
    signal: turn.signal,
    end: turn.end,
    answered: turn.answered,
    now: turn.now,
    contextOf: (row, { position }) => ({
      remember: (key, value) => {
        const { brain, task_id } = turn;
        const change = { source: callName(row), position, key, value };
        return writeNote({ brain, task_id, record: thread.record }, change);
      },
      runAgent: (name, message) => runAgent(turn, thread, row, name, message),
    }),
  };
}

/**
 * A sub-agent: a thread of the same turn, with its own prompt, tools and history; its last words are the tool's
 * output. After a kill its thread is there, and goes on.
 */
async function runAgent(
  turn: Turn,
  parent: Thread,
  row: ToolCallRow,
  name: string,
  message: string,
): Promise<ToolOutcome> {
  const agent = turn.catalog.agents.get(name);
  if (agent === undefined) {
    const known = [...turn.catalog.agents.keys()].join(', ');
    return { error: 'not_found', output: `There is no agent ${name}. Agents: ${known}.` };
  }
  const depth = parent.depth + 1;
  if (depth > MAX_DEPTH) {
    return { error: 'execution_failed', output: `Sub-agents go ${MAX_DEPTH} deep at most; do it yourself.` };
  }
  const { messages, working_memory } = turn.brain;
  const record = turn.record.thread(callName(row), row.tool_call_id);
  let ended: 'completed' | 'waiting';
  try {
    if (messages.last(turn.task_id, record.thread_id) === undefined) {
      record.open(message, notesTail(working_memory.ofTask(turn.task_id)));
    }
    ended = await runThread(turn, { agent, record, depth });
  } catch (error) {
    const outcome = outcomeOfFailure(name, error, turn.log, turn.task_id);
    if (outcome !== undefined) return outcome;
    turn.end(error);
    throw error;
  }
  if (ended === 'waiting') throw new WaitingForPerson();
  const said = messages.ofTurn(turn.turn_id, record.thread_id);
  const output = lastAnswer(said)
    .map(({ content }) => wordsOf(content))
    .join('');
  // What it has read may speak through it.
  return said.some(({ content }) => bringsOutside(content)) ? { output, outside: true } : { output };
}

const wordsOf = (content: ContentBlock[]) =>
  content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('\n\n');

/** What a call is called where something of its own is kept: a sub-agent's thread, a note. */
const callName = ({ message_id, ordinal }: ToolCallRow) => `${message_id}/${ordinal}`;
