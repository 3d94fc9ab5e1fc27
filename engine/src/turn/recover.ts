import { type NewEvent, parseFrames } from '../brain/channel_state.ts';
import type { TurnRow } from '../brain/turns.ts';
import { EngineError } from '../errors.ts';
import type { BlockCounter } from './model_call.ts';
import { discarded } from './model_call.ts';
import { type RecordParts, turnRecord } from './record.ts';

/**
 * Makes a turn that was cut ready to go on: by a kill, or by a disk that was full when a step should have been
 * written. What the loop needs stands in the history and the ledger; only what was *shown* and never finished
 * has to be put right: blocks of a model call without an answer are void, because the call is made again, and
 * clients must not keep both. Source: engine-runtime, "Durability and resume"; E15.
 */

/** A turn that takes the process down each time it comes to the same place must not do so for ever. */
const MAX_CRASHES = 3;

/** @throws EngineError `INTERNAL_ERROR` when it has been taken up at this very place too often. */
export function prepareToResume(parts: RecordParts, turn: TurnRow): BlockCounter {
  const { brain } = parts;
  const { turn_id } = turn;
  const place = `${brain.messages.newest(turn_id)}/${brain.tool_calls.settled(turn_id)}`;
  if (brain.turns.resume(turn_id, place) >= MAX_CRASHES) {
    throw new EngineError(
      'INTERNAL_ERROR',
      `The Engine ended ${MAX_CRASHES} times at this step of the turn. What was done before stays in the task.`,
    );
  }

  const record = turnRecord(parts, turn);
  const broken = brain.model_calls.open(turn_id);
  const shown = shownBlocks(parts, turn);
  const voided = broken.flatMap(({ thread_id, cursor }): NewEvent[] => {
    const parent = brain.tool_calls.startOf(thread_id)?.tool_call_id;
    const thread = record.thread(thread_id, parent);
    return shown
      .filter((block) => block.id > cursor && block.parent_tool_call_id === parent)
      .map(({ block_index, block_type }) => thread.toEvent(discarded({ block_index, block_type })));
  });
  record.resume(
    voided,
    broken.map(({ id }) => id),
  );
  return { next: Math.max(-1, ...shown.map((block) => block.block_index)) + 1 };
}

/** Every block that the turn has begun to show. */
function shownBlocks({ brain }: RecordParts, { task_id, first_event_id }: TurnRow): Shown[] {
  const blocks: Shown[] = [];
  let cursor = first_event_id - 1;
  for (;;) {
    const stretch = brain.events.read(cursor, Number.MAX_SAFE_INTEGER, task_id);
    if (stretch === undefined) return blocks;
    for (const { id, type, data } of parseFrames(stretch)) {
      // Written by us, in exactly this shape.
      if (type === 'content_block_start') blocks.push({ ...JSON.parse(data), id });
    }
    cursor = stretch.last_id;
  }
}

type Shown = {
  id: number;
  block_index: number;
  block_type: 'text' | 'thinking' | 'tool_use';
  parent_tool_call_id?: string;
};
