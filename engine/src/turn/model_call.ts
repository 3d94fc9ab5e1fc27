import { setTimeout as sleep } from 'node:timers/promises';
import { type Herald, HeraldError, type ModelRequest } from '../herald/contract.ts';
import type { BlockType, ContentBlock, StreamEvent } from '../types.ts';
import type { EventBody } from './events.ts';
import type { Answer, ThreadRecord } from './record.ts';

/**
 * One model call, made until it is whole.
 *
 * Herald retries what broke before anything was seen. What breaks later has already been shown, and cannot be
 * taken up in the middle: no provider continues a half-sent answer. So the call is made again from the start,
 * and each block that was shown gets a `content_block_stop` with `discarded`. The same is said when the call
 * is given up, because what is not whole does not join the history either: what a client keeps and what the
 * model remembers stay the same. After a kill the next start says it (recover.ts).
 */

/** Calls that break after they were visible, in all; more would only repeat itself to the reader. */
const MAX_TRIES = 3;

/** Before the second try; doubled before each one after. */
const RETRY_DELAY_MS = 500;

/** Numbers the blocks of a turn, over all its model calls. */
export type BlockCounter = { next: number };

export type ModelCall = {
  herald: Pick<Herald, 'complete'>;
  request: ModelRequest;
  blocks: BlockCounter;
  record: Pick<ThreadRecord, 'emit' | 'beginCall' | 'breakCall'>;
  /** Newest message the model is shown. */
  position: number;
};

/**
 * @returns the answer, and the journal's id of the try that gave it.
 * @throws HeraldError when it is given up, `signal.reason` when it was aborted.
 */
export async function callModel(parts: ModelCall): Promise<{ call: number; answer: Answer }> {
  const { herald, request, blocks, record, position } = parts;
  for (let attempt = 1; ; attempt++) {
    const call = record.beginCall(position);
    const shown: { block_index: number; block_type: BlockType }[] = [];
    try {
      const answer = await readAnswer(herald.complete(request), (event) => {
        if (event.type === 'block_start') {
          const block = { block_index: blocks.next++, block_type: event.block_type };
          shown.push(block);
          record.emit({ type: 'content_block_start', ...block });
        } else if (event.type === 'text') {
          record.emit({ type: 'text_delta', text: event.text });
        } else if (event.type === 'thinking') {
          record.emit({ type: 'thinking_delta', text: event.text });
        } else if (event.type === 'block_stop') {
          const block = shown.at(-1);
          if (block !== undefined) record.emit({ type: 'content_block_stop', ...block });
        }
      });
      return { call, answer };
    } catch (error) {
      record.breakCall(call, shown.map(discarded));
      if (!isWorthAnotherTry(error) || attempt === MAX_TRIES || request.signal.aborted) throw error;
      await sleep(RETRY_DELAY_MS * 2 ** (attempt - 1), undefined, { signal: request.signal }).catch(() => {
        throw request.signal.reason;
      });
    }
  }
}

/** Says that a block which was shown is void. */
export const discarded = (block: { block_index: number; block_type: BlockType }): EventBody => ({
  type: 'content_block_stop',
  ...block,
  discarded: true,
});

async function readAnswer(
  stream: AsyncIterable<StreamEvent>,
  show: (event: StreamEvent) => void,
): Promise<Answer> {
  const content: ContentBlock[] = [];
  let answer: Answer | undefined;
  // Read to its very end: what the model layer does after `finish` belongs to the call.
  for await (const event of stream) {
    show(event);
    if (event.type === 'block_stop') content.push(event.block);
    if (event.type === 'finish') {
      const { type: _, ...finish } = event;
      answer = { content, ...finish };
    }
  }
  if (answer !== undefined) return answer;
  throw new Error('The model layer ended its stream without a finish event');
}

function isWorthAnotherTry(error: unknown): boolean {
  return error instanceof HeraldError && error.visible && error.code !== 'CONTEXT_OVERFLOW';
}
