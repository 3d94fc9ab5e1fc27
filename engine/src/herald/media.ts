import { createHash } from 'node:crypto';
import type { LanguageModelV4FilePart, LanguageModelV4TextPart } from '@ai-sdk/provider';
import type { ImageBlock, MediaBlock, Message } from '../types.ts';
import type { ModelInfo } from './contract.ts';

/**
 * Images, documents, audio and video in the words of the AI SDK.
 *
 * A conversation outlives the model it began with: another agent, another day, the fallback. What the model at
 * hand cannot take becomes text, as a document has it, or a note that something was there, so that the rest of
 * the conversation still makes sense and no provider refuses all of it for one picture of last week.
 */
export type TakesMedia = {
  takes: ModelInfo['takes'];
  /** Blocks a provider has refused are not sent again. */
  isRefused(block: ImageBlock | MediaBlock): boolean;
};

type Part = LanguageModelV4TextPart | LanguageModelV4FilePart;

export function toMediaPart(block: ImageBlock | MediaBlock, { takes, isRefused }: TakesMedia): Part {
  const { source } = block;
  const name = block.type === 'image' ? undefined : block.name;
  const label = [block.type, ...(name === undefined ? [] : [JSON.stringify(name)])].join(' ');
  if (isRefused(block)) return note(`[${label}: left out, because the provider could not read it]`);

  const taken = takes[block.type] === 'both' || takes[block.type] === source.type;
  const isText = source.type === 'base64' && source.media_type.startsWith('text/');
  const text = block.type === 'image' ? undefined : block.text;
  if (text !== undefined && (isText || !taken)) return note(`[${label}]\n${text}\n[end of ${label}]`);
  if (!taken) return note(`[${label}: not shown, because this model does not take it]`);
  return {
    type: 'file',
    ...(name !== undefined && { filename: name }),
    mediaType: source.type === 'base64' ? source.media_type : URL_TYPES[block.type],
    data:
      source.type === 'base64'
        ? { type: 'data', data: source.data }
        : { type: 'url', url: new URL(source.url) },
  };
}

const note = (text: string): Part => ({ type: 'text', text });

/** What is behind a URL only its server knows. */
const URL_TYPES = { image: 'image/*', document: 'application/pdf', audio: 'audio/*', video: 'video/*' };

export function isMedia(block: Message['content'][number]): block is ImageBlock | MediaBlock {
  return ['image', 'document', 'audio', 'video'].includes(block.type);
}

/** What identifies a block, without keeping it. */
export function fingerprint({ source }: ImageBlock | MediaBlock): string {
  return createHash('sha256')
    .update(source.type === 'url' ? source.url : source.data)
    .digest('base64');
}
