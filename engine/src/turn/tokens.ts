import type { ContentBlock, ToolDef } from '../types.ts';

/**
 * How many tokens the next request will count, before it is sent.
 *
 * Only the provider knows, and it tells afterwards. A tokenizer would have to be the model's own, and most of
 * them are not published. The rule: the last request of a conversation was counted by the provider, and the
 * next one is that request with something added. What was counted is taken as counted, and only what was added
 * is estimated, at the rate the counted part had. So the error is a share of the last few messages, not of the
 * whole conversation; and what is wrong all the same shows as an overflow, which compaction answers.
 */

/** `bytes` of text, and what media count by themselves, in tokens. */
export type Size = { bytes: number; media: number };

/** A request that a provider has counted. */
export type Counted = { size: Size; tokens: number };

/** Tokens per byte of UTF-8 where nothing was counted yet: code and JSON; prose has fewer, Chinese about as many. */
export const USUAL_RATE = 1 / 3;

/** What rates are found in the field; a counted rate is trusted only in between. */
const LOWEST_RATE = 1 / 5;
const HIGHEST_RATE = 1 / 2;

/**
 * Bytes by which the usual rate weighs in: a short request counts mostly what the provider wraps around it,
 * and says little about text.
 */
const USUAL_BYTES = 4096;

/** A count beyond these rates is none: compatible servers answer with 0, or with what they added last. */
const LOWEST_COUNT = 1 / 16;
const HIGHEST_COUNT = 2;

/**
 * What media count, in tokens, as long as no provider has counted them: an image of the size providers scale
 * to; a PDF by its bytes, of which a page has about 100,000 as a scan and 2,000 tokens; sound by its seconds,
 * of which one has about 16,000 bytes and 32 tokens.
 */
const IMAGE_TOKENS = 1600;
const BYTES_PER_TOKEN = { document: 50, audio: 500, video: 500 };

/** Media behind a URL; nobody knows their size. */
const UNSEEN_TOKENS = 4000;

/** What role, block type and punctuation cost around each block, in bytes. */
const BLOCK_BYTES = 12;

export const NOTHING: Size = { bytes: 0, media: 0 };

export function add(...sizes: Size[]): Size {
  return {
    bytes: sizes.reduce((sum, size) => sum + size.bytes, 0),
    media: sizes.reduce((sum, size) => sum + size.media, 0),
  };
}

/** System prompt and tools. */
export function sizeOfHead(head: { system: string; tools: ToolDef[] }): Size {
  return { bytes: byteLength(head.system) + byteLength(JSON.stringify(head.tools)), media: 0 };
}

export function sizeOfBlocks(content: ContentBlock[]): Size {
  return add(...content.map(sizeOfBlock));
}

function sizeOfBlock(block: ContentBlock): Size {
  const text = (...texts: string[]) => ({
    bytes: texts.reduce((sum, one) => sum + byteLength(one), BLOCK_BYTES),
    media: 0,
  });
  switch (block.type) {
    case 'text':
    case 'thinking':
      return text(block.text);
    case 'tool_use':
      return text(block.id, block.name, JSON.stringify(block.input));
    case 'image':
      return { bytes: BLOCK_BYTES, media: IMAGE_TOKENS };
    case 'document':
    case 'audio':
    case 'video': {
      if (block.text !== undefined) return text(block.name ?? '', block.text);
      const { source } = block;
      const tokens =
        source.type === 'url' ? UNSEEN_TOKENS : (source.data.length * 3) / 4 / BYTES_PER_TOKEN[block.type];
      return { bytes: BLOCK_BYTES, media: Math.ceil(tokens) };
    }
    case 'tool_result':
      return text(block.tool_use_id, block.error ?? '', textOfOutput(block.output));
  }
}

/** A tool's output as the model is sent it. */
export function textOfOutput(output: unknown): string {
  return typeof output === 'string' ? output : (JSON.stringify(output) ?? '');
}

/** Tokens per byte, by what was counted. */
export function rateOf(counted: Counted | undefined): number {
  if (counted === undefined || !isPlausible(counted)) return USUAL_RATE;
  const tokens = counted.tokens - counted.size.media;
  const rate = (tokens + USUAL_BYTES * USUAL_RATE) / (counted.size.bytes + USUAL_BYTES);
  return Math.min(HIGHEST_RATE, Math.max(LOWEST_RATE, rate));
}

/**
 * Tokens of a request of this size. `counted`: the last request, of which this one is a continuation; `rate`:
 * of its text, where nothing was counted.
 */
export function estimateTokens(size: Size, counted?: Counted, rate = rateOf(counted)): number {
  if (counted === undefined || !isPlausible(counted)) return Math.ceil(size.bytes * rate) + size.media;
  const added = size.bytes - counted.size.bytes;
  return Math.max(0, Math.ceil(counted.tokens + added * rate + size.media - counted.size.media));
}

function isPlausible({ size, tokens }: Counted): boolean {
  const text = Math.max(0, tokens - size.media);
  return (
    tokens > 0 && text >= size.bytes * LOWEST_COUNT && text <= (size.bytes + USUAL_BYTES) * HIGHEST_COUNT
  );
}

const byteLength = (text: string) => Buffer.byteLength(text, 'utf8');
