import { z } from 'zod';
import type { TakenMedia } from '../types.ts';

/**
 * Media as a client attaches them. Source: engine-api, "Media blocks". What is in a block is only looked at as
 * far as it has to be: the provider is the judge of images and sound.
 */

/** More than people attach, fewer than providers take. */
export const MAX_MEDIA_BLOCKS = 20;

const MAX_NAME = 255;
const MAX_URL = 2048;

/** By kind; what providers take of them differs, and they say so. */
const MEDIA_TYPES = {
  image: mediaType(/^image\/(png|jpeg|webp|gif)$/, 'image/png, image/jpeg, image/webp or image/gif'),
  document: mediaType(/^(application\/pdf|text\/[a-z0-9.+-]+)$/, 'application/pdf, or one of text/*'),
  audio: mediaType(/^audio\/[a-z0-9.+-]+$/, 'one of audio/*'),
  video: mediaType(/^video\/[a-z0-9.+-]+$/, 'one of video/*'),
} as const;

function mediaType(form: RegExp, words: string) {
  const error = `must be ${words}`;
  return z.string(error).regex(form, error);
}

/** A decoder skips what is not Base64, and two different texts would become one image. */
const BASE64 = 'must be Base64, with its padding';
const isBase64 = (text: string) => text !== '' && Buffer.from(text, 'base64').toString('base64') === text;

const source = (media_type: z.ZodString) =>
  z.discriminatedUnion(
    'type',
    [
      z.object({
        type: z.literal('base64'),
        media_type,
        data: z.string(BASE64).refine(isBase64, BASE64),
      }),
      z.object({
        type: z.literal('url'),
        url: z
          .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
          .max(MAX_URL)
          .meta({ description: 'The provider fetches it, where it does that.' }),
      }),
    ],
    'must be {"type": "base64", "media_type", "data"} or {"type": "url", "url"}',
  );

const name = z.string().min(1).max(MAX_NAME).optional();

export const MediaInput = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.literal('image'), source: source(MEDIA_TYPES.image) }),
    z.object({ type: z.literal('document'), source: source(MEDIA_TYPES.document), name }),
    z.object({ type: z.literal('audio'), source: source(MEDIA_TYPES.audio), name }),
    z.object({ type: z.literal('video'), source: source(MEDIA_TYPES.video), name }),
  ],
  'must be {"type", "source"}, the type image, document, audio or video',
);

export type MediaInput = z.infer<typeof MediaInput>;

export const MediaList = z
  .array(MediaInput, 'must be a list of media blocks')
  .max(MAX_MEDIA_BLOCKS)
  .default([])
  .meta({ description: 'Images, documents, audio and video; what the model cannot take is refused.' });

/**
 * Media as they are to be stored, for the model of an agent (undefined: the default one). `field`: where in the request
 * they stood.
 * @throws EngineError `INVALID_REQUEST` for what that model cannot take or nobody can read.
 */
export type TakeMedia = (
  media: MediaInput[],
  agent: string | undefined,
  field: 'media' | 'content_blocks',
) => Promise<TakenMedia>;
