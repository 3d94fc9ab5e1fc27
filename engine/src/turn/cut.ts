import type { StoredMessage } from '../brain/messages.ts';
import { isOpening, sentBlocks } from './history.ts';
import { type Size, sizeOfBlocks } from './tokens.ts';

/**
 * Where a history may be cut in two.
 *
 * What is before the cut is condensed, what is after it is sent as it always was. A cut is made in front of what the
 * person or the model says, so never between a tool call and its result, which stands right behind it; and if it can be
 * helped not through the turn that runs. From mild to strong: whole earlier turns but the last few; all earlier turns;
 * the earlier steps of the turn itself, whose own message stays in front; all its steps but the last. Source:
 * engine-runtime, "Compaction".
 */
export type Cut = {
  collapsed: StoredMessage[];
  /** The message that began the running turn, where it lies before the cut; it stays. */
  opening: StoredMessage | undefined;
  kept: StoredMessage[];
};

/**
 * All cuts worth trying, the mildest first.
 * @param recent_bytes of what stays although it would not have to: turns before the running one, or its steps.
 */
export function cutsOf(history: StoredMessage[], recent_bytes: number): Cut[] {
  // A turn that answers a message again has none of its own.
  const start = history.findLastIndex(isOpening);
  if (start === -1) return [];
  const places = new Set<number>();

  const turns = history.flatMap((message, index) => (index < start && isOpening(message) ? [index] : []));
  const recent = turns.find((index) => sizeOf(history.slice(index, start)).bytes <= recent_bytes);
  places.add(recent ?? start).add(start);

  const steps = history.flatMap(({ role }, index) =>
    index > start + 1 && role === 'assistant' ? [index] : [],
  );
  const last = steps.at(-1);
  const near = steps.find((index) => sizeOf(history.slice(index)).bytes <= recent_bytes);
  if (last !== undefined) places.add(near ?? last).add(last);

  return [...places].flatMap((place) => {
    const opening = place > start ? history[start] : undefined;
    const collapsed = history.slice(0, place).filter((message) => message !== opening);
    return collapsed.length === 0 ? [] : [{ collapsed, opening, kept: history.slice(place) }];
  });
}

export function sizeOf(messages: StoredMessage[]): Size {
  return sizeOfBlocks(messages.flatMap(sentBlocks));
}
