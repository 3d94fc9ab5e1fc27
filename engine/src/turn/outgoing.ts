/**
 * Events on their way out of a turn: in their final form, and without secrets.
 *
 * A whole event is looked through by itself. The pieces of a block are not: a key that is cut over two of them is in
 * neither. So of a thread's open block a little may be held back, until it is decided or the block ends. Source:
 * engine-runtime, "Secret scanner and hooks".
 */
import type { NewEvent } from '../brain/channel_state.ts';
import { MARK, type ScrubbedStream, type Scrubber } from '../secrets/scrubber.ts';
import type { EventBody } from './events.ts';

export type Outgoing = {
  /** A whole event, as it is stored and sent. */
  whole(event: EventBody): NewEvent;
  /** What can be sent of a block now that this event of it has come: nothing, or it, or what was held back before it. */
  streamed(event: EventBody): NewEvent[];
  /** The open block is void, and what was held back of it with it. */
  drop(): void;
};

/** Of one thread, whose blocks come one after the other. `hidden` is told of each text in which a secret was. */
export function createOutgoing(
  turn: { task_id: string; turn_id: string },
  parent_tool_call_id: string | undefined,
  now: () => number,
  secrets: Scrubber,
  hidden: (scrubbed: unknown) => void = () => {},
): Outgoing {
  let block: { type: 'text_delta' | 'thinking_delta'; text: ScrubbedStream } | undefined;

  function toEvent({ type, ...own }: EventBody): NewEvent {
    const { task_id, turn_id } = turn;
    const at = now();
    const timestamp = new Date(at).toISOString();
    const data = JSON.stringify({ type, task_id, turn_id, timestamp, parent_tool_call_id, ...own });
    return { task_id, turn_id, type, timestamp: at, data };
  }

  function whole(event: EventBody): NewEvent {
    const scrubbed = secrets.value(event);
    if (scrubbed !== event) hidden(scrubbed);
    return toEvent(scrubbed);
  }

  /** `came`: of what. A model may write a mark itself, one it has read in the result of a tool. */
  function piece(type: 'text_delta' | 'thinking_delta', text: string, came: string): NewEvent[] {
    if (text.includes(MARK) && !came.includes(MARK)) hidden(text);
    return text === '' ? [] : [toEvent({ type, text })];
  }

  return {
    whole,
    streamed(event) {
      if (event.type === 'text_delta' || event.type === 'thinking_delta') {
        const { type } = event;
        block ??= { type, text: secrets.stream() };
        return piece(type, block.text.push(event.text), event.text);
      }
      if (event.type !== 'content_block_stop' || block === undefined) return [whole(event)];
      const { type, text } = block;
      block = undefined;
      return [...piece(type, text.end(), ''), whole(event)];
    },
    drop() {
      block = undefined;
    },
  };
}
