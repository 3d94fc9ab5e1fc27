import type {
  LanguageModelV4StreamPart,
  LanguageModelV4Usage,
  SharedV4ProviderMetadata,
} from '@ai-sdk/provider';
import type { StopReason, StreamEvent, ToolUseBlock } from '../types.ts';
import type { BilledTokens } from './cost.ts';
import { BrokenStream } from './failure.ts';
import { packProofs } from './proofs.ts';

/**
 * The SDK's stream parts as our events, the same for every provider.
 *
 * Providers differ in how blocks begin and end: Chat Completions closes its text only after the calls that
 * follow it, Gemini sends signatures in empty text, OpenAI may think without showing a word. The rule here: at
 * most one block is open; a block begins with its first visible character, and one that never had any is told
 * only when it carries a proof that must go back. A tool call is told whole, when all of its input is there.
 *
 * A stream is an answer only when the provider said that it is complete. Without its closing event the answer
 * was cut, however well it reads.
 */

/** The block being streamed. */
type OpenBlock = {
  type: 'text' | 'thinking';
  id: string;
  text: string;
  metadata: (SharedV4ProviderMetadata | undefined)[];
};

type BlockEvent = Exclude<StreamEvent, { type: 'finish' }>;

/** How an answer ended; who it came from and what it cost is known elsewhere. */
export type Ending = {
  type: 'end';
  stop_reason: StopReason;
  tokens: BilledTokens;
  model: string | undefined;
};

/** @throws what an `error` part carries; `BrokenStream` when the stream ends without a complete answer. */
export async function* toEvents(
  parts: AsyncIterable<LanguageModelV4StreamPart>,
): AsyncGenerator<BlockEvent | Ending> {
  let model: string | undefined;
  let open: OpenBlock | undefined;
  let index = 0;
  let calls = 0;

  function* close(): Generator<BlockEvent> {
    if (!open) return;
    const { type, text, metadata } = open;
    open = undefined;
    const signature = packProofs(type, metadata);
    if (text === '' && signature === undefined) return;
    if (text === '') yield { type: 'block_start', index, block_type: type };
    yield { type: 'block_stop', index, block: { type, text, ...(signature !== undefined && { signature }) } };
    index += 1;
  }
  function* enter(type: OpenBlock['type'], id: string): Generator<BlockEvent, OpenBlock> {
    if (open?.type === type && open.id === id) return open;
    yield* close();
    open = { type, id, text: '', metadata: [] };
    return open;
  }

  for await (const part of parts) {
    switch (part.type) {
      case 'response-metadata':
        model = part.modelId;
        break;

      case 'text-start':
      case 'reasoning-start': {
        const block = yield* enter(part.type === 'text-start' ? 'text' : 'thinking', part.id);
        block.metadata.push(part.providerMetadata);
        break;
      }
      case 'text-delta':
      case 'reasoning-delta': {
        const type = part.type === 'text-delta' ? 'text' : 'thinking';
        const block = yield* enter(type, part.id);
        block.metadata.push(part.providerMetadata);
        if (part.delta === '') break;
        if (block.text === '') yield { type: 'block_start', index, block_type: type };
        block.text += part.delta;
        yield { type, index, text: part.delta };
        break;
      }
      case 'text-end':
      case 'reasoning-end':
        if (open?.id !== part.id) break;
        open.metadata.push(part.providerMetadata);
        yield* close();
        break;

      case 'tool-call': {
        yield* close();
        const signature = packProofs('tool_use', [part.providerMetadata]);
        const block: ToolUseBlock = {
          type: 'tool_use',
          id: part.toolCallId,
          name: part.toolName,
          ...parseInput(part.input),
          ...(signature !== undefined && { signature }),
        };
        yield { type: 'block_start', index, block_type: 'tool_use' };
        yield { type: 'block_stop', index, block };
        index += 1;
        calls += 1;
        break;
      }

      case 'error':
        throw part.error;

      case 'finish': {
        const { unified } = part.finishReason;
        if (unified === 'interrupted') throw cutShort();
        if (unified === 'error') throw new BrokenStream('broke off its answer', { retryable: true });
        yield* close();
        if (unified === 'content-filter' && index === 0) {
          throw new BrokenStream('gave no answer: its content filter stopped it', { retryable: false });
        }
        yield { type: 'end', stop_reason: stopReason(unified, calls), tokens: toTokens(part.usage), model };
        return;
      }
    }
  }
  throw cutShort();
}

const cutShort = () => new BrokenStream('ended before the answer was complete', { retryable: true });

/** Compatible servers often say `stop` after a tool call; what counts is that there is one to answer. */
function stopReason(unified: string, calls: number): StopReason {
  if (unified === 'length') return 'max_tokens';
  return calls > 0 ? 'tool_use' : 'end_turn';
}

function parseInput(text: string): Pick<ToolUseBlock, 'input' | 'invalid_input'> {
  try {
    const input: unknown = JSON.parse(text);
    if (typeof input === 'object' && input !== null && !Array.isArray(input)) return { input: { ...input } };
  } catch {
    // Not JSON at all is invalid in the same way as JSON that is no object.
  }
  return { input: {}, invalid_input: text };
}

function toTokens({ inputTokens, outputTokens }: LanguageModelV4Usage): BilledTokens {
  return {
    input_tokens: inputTokens.total ?? 0,
    output_tokens: outputTokens.total ?? 0,
    cache_hit_tokens: inputTokens.cacheRead ?? 0,
    cache_write_tokens: inputTokens.cacheWrite ?? 0,
  };
}
