import { EngineError } from '../errors.ts';
import { compact, type Question } from './compaction.ts';
import { type Context, contextOf, type Thread, type View, type ViewParts, viewOf } from './view.ts';

export type { Context, Thread } from './view.ts';

/**
 * What the model sees in each call of a turn: put together anew each time, from what is stored and nothing
 * else, and made to fit. Source: engine-runtime, "Context", "Compaction".
 */
export type Contexts = {
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
  /** One call of that model in the thread's name; undefined when it failed. */
  ask(thread: Thread, question: Question, signal: AbortSignal): Promise<string | undefined>;
};

/** Share of the room above which a request is not sent: estimates are estimates. */
const TRIGGER = 0.9;

/** What may be left of a request that the provider refused, whatever we thought of its size. */
const SHRUNK = 0.7;

export function createContexts(parts: ContextParts): Contexts {
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
    const asking = { ask, ask_room: roomOf(parts.light_model) };
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
