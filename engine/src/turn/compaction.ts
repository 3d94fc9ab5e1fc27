/**
 * Makes room in a conversation that no longer fits: cut.ts says where it can be cut, carried.ts what outlives
 * the cut literally, review.ts what the light model may say about it. Here they are put together: the mildest
 * cut that makes room *enough* is taken, because each compaction costs the provider's cache and the next should
 * be far away. Originals stay in the brain. Source: engine-runtime, "Compaction".
 */
import type { NewCompaction } from '../brain/compactions.ts';
import type { Note } from '../brain/working_memory.ts';
import { Carried, carryOn, fitted, NOTHING_CARRIED, render } from './carried.ts';
import { cutsOf } from './cut.ts';
import { REVIEW_PROMPT, reviewOf } from './review.ts';
import { USUAL_RATE } from './tokens.ts';
import { tokensAfter, type View } from './view.ts';

/** Shares of the tokens that a request may have. */
const SHARES = {
  /** A compaction should get below this. */
  target: 0.6,
  /** Messages before the running turn that stay as they are; or steps of it, where it has to be cut itself. */
  recent: 0.1,
  /** The person's words, as far as they can shrink. */
  words: 0.2,
  summary: 0.08,
  /** What the light model reads, of what it can. */
  read: 0.8,
};

/** A question to the light model. `position`: the newest message it is about. */
export type Question = { system: string; text: string; input_tokens: number; position: number };

export type CompactionParts = {
  /** The light model's answer in the thread's name; undefined when it gave none. */
  ask(question: Question): Promise<string | undefined>;
  /** Tokens a question may have. */
  ask_room: number;
  /** Working memory as it stands. */
  notes: Note[];
};

/**
 * @param room tokens a request to the thread's model may have.
 * @param limit tokens it must come down to.
 * @returns the row to be stored; undefined when no cut gets it down to the limit.
 * @throws what `ask` throws.
 */
export async function compact(
  view: View,
  { room, limit }: { room: number; limit: number },
  { ask, ask_room, notes }: CompactionParts,
): Promise<NewCompaction | undefined> {
  const bytes = (share: number) => Math.floor((room * share) / view.rate);
  const before =
    view.compaction === undefined ? NOTHING_CARRIED : Carried.parse(JSON.parse(view.compaction.carried));

  const cuts = cutsOf(view.history, bytes(SHARES.recent));
  // What a cut leaves is known only when it is condensed; until then: what was carried so far, and a summary.
  const least = Buffer.byteLength(view.compaction?.text ?? '') + bytes(SHARES.summary);
  const target = Math.min(limit, room * SHARES.target);
  const mildest = cuts.findIndex((cut) => tokensAfter(view, cut, least) <= target);

  // None promises to reach the target: then the strongest, which is the last.
  for (const cut of cuts.slice(mildest)) {
    const review = reviewOf(carryOn(before, cut.collapsed), cut.collapsed, {
      read_bytes: Math.floor((ask_room * SHARES.read) / USUAL_RATE),
      summary_bytes: bytes(SHARES.summary),
    });
    const input_tokens = Math.ceil(Buffer.byteLength(REVIEW_PROMPT + review.transcript) * USUAL_RATE);
    const position = Math.max(...cut.collapsed.map((message) => message.position));
    const answer = await ask({ system: REVIEW_PROMPT, text: review.transcript, input_tokens, position });
    const carried = fitted(review.apply(answer), bytes(SHARES.words));
    const text = render(carried, notes);
    const after_tokens = tokensAfter(view, cut, Buffer.byteLength(text));
    if (after_tokens > limit) continue;
    return {
      upto: Math.max(view.compaction?.upto ?? 0, position),
      opening: cut.opening?.position ?? null,
      head: Math.max(0, ...view.history.map((message) => message.position)),
      text,
      carried: JSON.stringify(carried),
      tokens_per_byte: view.rate,
      before_tokens: view.tokens,
      after_tokens,
    };
  }
  return undefined;
}
