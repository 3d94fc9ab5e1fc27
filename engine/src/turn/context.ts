import type { StoredMessage } from '../brain/messages.ts';
import type { Note } from '../brain/working_memory.ts';
import { EngineError } from '../errors.ts';
import { compact, type Question } from './compaction.ts';
import type { EventBody } from './events.ts';
import { isOpening } from './history.ts';
import { isNote } from './note.ts';
import type { Planner } from './planner.ts';
import { type Recalled, recalledTail } from './recall.ts';
import type { SideCall } from './side_call.ts';
import { type Context, contextOf, type Thread, type View, type ViewParts, viewOf } from './view.ts';
import { notesTail, withNote } from './working_memory.ts';

export type { Context, Thread } from './view.ts';

/**
 * What the model sees in each call of a turn: put together anew each time, from what is stored and nothing
 * else, and made to fit. Source: engine-runtime, "Context", "Compaction".
 */
export type Contexts = {
  /**
   * Before the first model call of a turn: brings what goes with its message (E14), a plan unless it is `direct`, the
   * notes, and what is recalled for it, and fixes it there. A turn that goes on, or answers a message again, finds that
   * done.
   * @throws `signal.reason` when it was aborted; what the planner's call ends the turn with.
   */
  begin(thread: Thread, direct: boolean, signal: AbortSignal): Promise<void>;
  /**
   * What the model sees next, and what that will count. Condenses older messages first when it would not fit.
   * @throws EngineError `CONTEXT_OVERFLOW`; what a model call in between ends the turn with.
   */
  assemble(thread: Thread, signal: AbortSignal): Promise<Context & { estimated_tokens: number }>;
  /**
   * The provider said that it was too much: condenses now.
   * @throws as `assemble`; `CONTEXT_OVERFLOW` when nothing is left that could be condensed.
   */
  shrink(thread: Thread, signal: AbortSignal): Promise<void>;
};

export type ContextParts = ViewParts & {
  /** Context window of a model, tokens, input and output together. */
  window(model: string): number;
  /** Output limit of a model call, tokens. */
  max_tokens: number;
  /** `REACTIVE_COMPACT_ENABLED`. */
  compact: boolean;
  /** `LIGHT_MODEL`. */
  light_model: string;
  /** Asks that model. */
  ask: SideCall;
  /** Undefined: turns are not planned. */
  plan?: Planner | undefined;
  now: () => number;
};

/** Share of the room above which a request is not sent: estimates are estimates. */
const TRIGGER = 0.9;

/** What may be left of a request that the provider refused, whatever we thought of its size. */
const SHRUNK = 0.7;

export function createContexts(parts: ContextParts): Contexts {
  const { brain, memory, now } = parts;

  /** The tokens a request to this model may have. */
  function roomOf(model: string): number {
    const window = parts.window(model);
    // An output limit as large as the window must not leave nothing to say.
    return Math.max(window - parts.max_tokens, window / 2);
  }

  async function makeRoom(thread: Thread, view: View, limit: number, signal: AbortSignal): Promise<void> {
    // What a provider refused is more than it takes, whatever the catalog says of its window.
    const room = Math.min(roomOf(thread.model), view.tokens);
    const ask = (question: Question) => parts.ask(thread, question, signal);
    const notes = brain.working_memory.ofTask(thread.task_id);
    const asking = { ask, ask_room: roomOf(parts.light_model), notes };
    const row = parts.compact ? await compact(view, { room, limit }, asking) : undefined;
    if (row === undefined) {
      throw new EngineError(
        'CONTEXT_OVERFLOW',
        'The conversation does not fit into the model’s context, and nothing is left that could be condensed. Start a new task, or send less at once.',
        { estimated_tokens: view.tokens, limit: Math.floor(limit) },
      );
    }
    thread.record.condense(row);
  }

  return {
    async begin(thread, direct, signal) {
      const { task_id, turn_id, record } = thread;
      const opening = brain.messages.last(task_id, record.thread_id);
      if (opening === undefined || !isOpening(opening) || opening.tail !== null) return;
      const started = now();
      const recalled = await memory.recall(wordsOf(opening), signal);
      const shown = retrievalOf(recalled, now() - started);
      const notes = brain.working_memory.ofTask(task_id);
      const tailWith = (notes: Note[]) => [...notesTail(notes), ...recalledTail(recalled)];
      const tail = tailWith(notes);
      if (parts.plan === undefined || direct) {
        // Most turns bring nothing; they need not wait for the disk.
        if (tail.length > 0 || shown.length > 0) record.settleTail(opening, tail, shown);
        return;
      }
      const { position } = opening;
      const context = contextOf(viewOf(parts, thread));
      context.messages.at(-1)?.content.unshift(...tail);
      const plan = await parts.plan(thread, { context, position, notes }, signal);
      if (plan === undefined) record.settleTail(opening, tail, shown);
      else {
        const change = { ...plan, source: `plan/${turn_id}`, position };
        record.settleTail(opening, tailWith(withNote(notes, plan)), shown, change);
      }
    },

    async assemble(thread, signal) {
      let view = viewOf(parts, thread);
      const limit = roomOf(thread.model) * TRIGGER;
      if (view.tokens > limit) {
        await makeRoom(thread, view, limit, signal);
        view = viewOf(parts, thread);
      }
      return { ...contextOf(view), estimated_tokens: view.tokens };
    },

    async shrink(thread, signal) {
      const view = viewOf(parts, thread);
      await makeRoom(thread, view, view.tokens * SHRUNK, signal);
    },
  };
}

const wordsOf = ({ content }: StoredMessage) =>
  content.flatMap((block) => (block.type === 'text' && !isNote(block) ? [block.text] : [])).join('\n');

function retrievalOf(recalled: Recalled | undefined, duration_ms: number): EventBody[] {
  if (recalled === undefined) return [];
  const { items: _, ...counts } = recalled;
  return [{ type: 'memory_retrieval', ...counts, duration_ms: Math.max(0, duration_ms) }];
}
