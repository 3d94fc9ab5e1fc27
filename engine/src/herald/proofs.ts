import type { SharedV4ProviderMetadata, SharedV4ProviderOptions } from '@ai-sdk/provider';
import type { BlockType } from '../types.ts';

/**
 * What a provider wants back.
 *
 * Models that reason hand out opaque proofs with their blocks and want them back with the next call, or they
 * refuse it or forget what they thought: Anthropic signs thinking, OpenAI seals reasoning items (we ask it to
 * store nothing), Gemini signs the part that follows its thoughts, often a function call. The proofs travel as
 * JSON in a block's `signature`, under the provider's name, so that a conversation that moves to another
 * provider takes none of them along.
 */

/** The SDK's name for a provider's own fields. */
export type Namespace = 'anthropic' | 'openai' | 'google';

/** The fields worth keeping, by the block they come with. What else a provider tells is not for sending back. */
const FIELDS: Record<BlockType, string[]> = {
  text: ['phase', 'thoughtSignature'],
  thinking: ['signature', 'redactedData', 'itemId', 'reasoningEncryptedContent', 'thoughtSignature'],
  tool_use: ['thoughtSignature'],
};

/** The `signature` of a block, from all metadata its parts carried; `undefined` when there is nothing to prove. */
export function packProofs(
  block: BlockType,
  metadata: (SharedV4ProviderMetadata | undefined)[],
): string | undefined {
  const packed: Record<string, Record<string, unknown>> = {};
  for (const [namespace, fields] of metadata.flatMap((part) => Object.entries(part ?? {}))) {
    for (const [field, value] of Object.entries(fields)) {
      if (value == null || !FIELDS[block].includes(field)) continue;
      packed[namespace] = { ...packed[namespace], [field]: value };
    }
  }
  return Object.keys(packed).length === 0 ? undefined : JSON.stringify(packed);
}

/** The provider's own fields of a `signature`; `undefined` when another provider made it. */
export function unpackProofs(
  signature: string | undefined,
  namespace: Namespace,
): SharedV4ProviderOptions | undefined {
  if (signature === undefined) return undefined;
  const packed: SharedV4ProviderOptions = JSON.parse(signature);
  const own = packed[namespace];
  return own && { [namespace]: own };
}
