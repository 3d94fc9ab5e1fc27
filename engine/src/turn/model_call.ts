import { setTimeout as sleep } from 'node:timers/promises';
import { type Herald, HeraldError, type ModelRequest } from '../herald/contract.ts';
import type { BlockType, ContentBlock, StreamEvent } from '../types.ts';
import type { EventBody } from './events.ts';
import type { Answer } from './record.ts';

/**
 * One model call, made until it is whole.
 *
 * Herald retries what broke before anything was seen. What breaks later has already been shown, and cannot be
 * taken up in the middle: no provider continues a half-sent answer. So the call is made again from the start,
 * and each block that was shown gets a `content_block_stop` with `discarded`. The same is said when the call
 * is given up, because what is not whole does not join the history either: what a client keeps and what the
 * model remembers stay the same.
 */

/** Calls that break after they were visible, in all; more would only repeat itself to the reader. */
const MAX_TRIES = 3;

/** Before the second try; doubled before each one after. */
const RETRY_DELAY_MS = 500;

/** Numbers the blocks of a turn, over all its model calls. */
export type BlockCounter = { next: number };

/** @throws HeraldError when it is given up, `signal.reason` when it was aborted. */
export async function callModel(
  herald: Pick<Herald, 'complete'>,
  request: ModelRequest,
  blocks: BlockCounter,
  emit: (event: EventBody) => void,
): Promise<Answer> {
  for (let attempt = 1; ; attempt++) {
    const shown: { block_index: number; block_type: BlockType; open: boolean }[] = [];
    try {
      return await readAnswer(herald.complete(request), (event) => {
        if (event.type === 'block_start') {
          const block = { block_index: blocks.next++, block_type: event.block_type, open: true };
          shown.push(block);
          emit({ type: 'content_block_start', block_index: block.block_index, block_type: block.block_type });
        } else if (event.type === 'text') {
          emit({ type: 'text_delta', text: event.text });
        } else if (event.type === 'thinking') {
          emit({ type: 'thinking_delta', text: event.text });
        } else if (event.type === 'block_stop') {
          const block = shown.at(-1);
          if (block === undefined) return;
          emit({ type: 'content_block_stop', block_index: block.block_index, block_type: block.block_type });
        }
      });
    } catch (error) {
      for (const { block_index, block_type } of shown) {
        emit({ type: 'content_block_stop', block_index, block_type, discarded: true });
      }
      if (!isWorthAnotherTry(error) || attempt === MAX_TRIES || request.signal.aborted) throw error;
      await sleep(RETRY_DELAY_MS * 2 ** (attempt - 1), undefined, { signal: request.signal }).catch(() => {
        throw request.signal.reason;
      });
    }
  }
}

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
