import { z } from 'zod';

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
  image: /^image\/(png|jpeg|webp|gif)$/,
  document: /^(application\/pdf|text\/[a-z0-9.+-]+)$/,
  audio: /^audio\/[a-z0-9.+-]+$/,
  video: /^video\/[a-z0-9.+-]+$/,
} as const;

/** A decoder skips what is not Base64, and two different texts would become one image. */
const isBase64 = (text: string) => text !== '' && Buffer.from(text, 'base64').toString('base64') === text;

const source = (media_type: RegExp) =>
  z.discriminatedUnion('type', [
    z.object({
      type: z.literal('base64'),
      media_type: z.string().regex(media_type),
      data: z.string().refine(isBase64, 'must be Base64, with its padding'),
    }),
    z.object({
      type: z.literal('url'),
      url: z
        .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
        .max(MAX_URL)
        .meta({ description: 'The provider fetches it, where it does that.' }),
    }),
  ]);

const name = z.string().min(1).max(MAX_NAME).optional();

export const MediaInput = z.discriminatedUnion('type', [
  z.object({ type: z.literal('image'), source: source(MEDIA_TYPES.image) }),
  z.object({ type: z.literal('document'), source: source(MEDIA_TYPES.document), name }),
  z.object({ type: z.literal('audio'), source: source(MEDIA_TYPES.audio), name }),
  z.object({ type: z.literal('video'), source: source(MEDIA_TYPES.video), name }),
]);

export type MediaInput = z.infer<typeof MediaInput>;

export const MediaList = z
  .array(MediaInput)
  .max(MAX_MEDIA_BLOCKS)
  .default([])
  .meta({ description: 'Images, documents, audio and video; what the model cannot take is refused.' });
