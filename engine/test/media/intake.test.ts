import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import type { MediaInput } from '../../src/media/blocks.ts';
import { INGESTED_CHARACTERS, MAX_INGESTED_CHARACTERS } from '../../src/media/chunks.ts';
import { createMediaIntake, type ModelTaste } from '../../src/media/intake.ts';
import { createPdfReader } from '../../src/media/pdf.ts';
import { base64, image, pdf, url } from './files.ts';

const ALL: ModelTaste = {
  model: 'm',
  takes: { image: 'both', document: 'both', audio: 'both', video: 'both' },
};
const NONE: ModelTaste = { model: 'm', takes: { image: 'no', document: 'no', audio: 'no', video: 'no' } };

const reader = createPdfReader();
const intake = (flags = {}) =>
  createMediaIntake({ pdf: reader, validate: false, resize: false, ingest: false, ...flags });
/** What joins the conversation. */
const taken = async (media: MediaInput[], model: ModelTaste, flags = {}) =>
  (await intake(flags).prepare(media, model)).blocks;
const refused = async (media: MediaInput[], model: ModelTaste, flags = {}) => {
  const error = await intake(flags)
    .prepare(media, model)
    .catch((error) => error);
  expect(error).toMatchObject({ code: 'INVALID_REQUEST' });
  return String(error.message);
};

const PICTURE: MediaInput = { type: 'image', source: url('https://example.com/a.png') };
const PDF: MediaInput = { type: 'document', name: 'a.pdf', source: base64('application/pdf', pdf('Hello')) };

describe('media on their way in', () => {
  it('are left as they are where the model takes them', async () => {
    const media: MediaInput[] = [
      PICTURE,
      PDF,
      { type: 'audio', source: base64('audio/wav', Buffer.from('RIFF')) },
      { type: 'video', source: url('https://example.com/a.mp4') },
    ];
    expect(await taken(media, ALL)).toEqual(media);
  });

  it('a document becomes its text where the model takes none', async () => {
    expect(await taken([PDF], NONE)).toEqual([{ ...PDF, text: '[page 1 of 1]\nHello' }]);
  });

  it('a text file is always its text, cut where it is endless', async () => {
    const text = (content: string): MediaInput => ({
      type: 'document',
      source: base64('text/markdown', Buffer.from(content)),
    });
    expect(await taken([text('# Grüße')], NONE)).toMatchObject([{ text: '# Grüße' }]);
    const [long] = await taken([text('x'.repeat(400_001))], ALL);
    expect(long).toMatchObject({ text: expect.stringMatching(/x\n\[cut here: the document has 400001 /) });
  });

  it('what the model cannot take is refused, by its place', async () => {
    expect(await refused([PDF, PICTURE], NONE)).toBe('media.1: m does not take images');
    const data: ModelTaste = { model: 'm', takes: { ...NONE.takes, image: 'base64', document: 'base64' } };
    expect(await refused([PICTURE], data)).toBe('media.0: m takes images only as base64');
    expect(await refused([{ type: 'document', source: url('https://example.com/a.pdf') }], data)).toMatch(
      /documents only as base64/,
    );
  });

  it('a document nobody can read is refused', async () => {
    const broken: MediaInput = { type: 'document', source: base64('application/pdf', Buffer.from('no')) };
    expect(await refused([broken], NONE)).toMatch(/^media.0: the PDF cannot be read/);
    expect(await refused([broken], ALL, { validate: true })).toBe('media.0: is no PDF');
    expect(await taken([broken], ALL)).toEqual([broken]);
  });
});

describe('kept beside the conversation', () => {
  const text = (characters: number): MediaInput => ({
    type: 'document',
    source: base64('text/plain', Buffer.from('x'.repeat(characters))),
  });

  it('is what is large; the rest stays as it is', async () => {
    const media = [text(INGESTED_CHARACTERS), text(INGESTED_CHARACTERS + 1)];
    const { blocks, documents } = await intake({ ingest: true }).prepare(media, NONE);
    expect(blocks).toMatchObject([{ type: 'document' }, { type: 'text', note: 'document' }]);
    expect(documents).toMatchObject([{ name: 'text/plain' }]);
  });

  it('has an end, for all of a request together', async () => {
    const half = text(MAX_INGESTED_CHARACTERS / 2);
    const ingest = { ingest: true };
    expect((await intake(ingest).prepare([half, half], NONE)).documents).toHaveLength(2);
    expect(await refused([half, half, text(INGESTED_CHARACTERS + 1)], NONE, ingest)).toMatch(
      /^media.2: the large documents have more than 2000000 characters/,
    );
  });
});

describe('looked at before they are sent', () => {
  const validate = { validate: true };
  const picture = (media_type: string, data: Buffer): MediaInput => ({
    type: 'image',
    source: base64(media_type, data),
  });

  it.each(['png', 'jpeg', 'webp', 'gif'] as const)('a good %s goes through untouched', async (format) => {
    const media = [picture(`image/${format}`, await image(format, 20, 10))];
    expect(await taken(media, ALL, validate)).toEqual(media);
  });

  it('what is no image, another one than it says, or far too large is refused', async () => {
    expect(await refused([picture('image/png', Buffer.from('no'))], ALL, validate)).toMatch(/no image/);
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
    expect(await refused([picture('image/png', svg)], ALL, validate)).toMatch(/no image/);
    expect(await refused([picture('image/png', await image('jpeg', 9, 9))], ALL, validate)).toBe(
      'media.0: is image/jpeg, not image/png',
    );
    expect(await refused([picture('image/png', await image('png', 8001, 1))], ALL, validate)).toMatch(
      /8001 by 1 pixels/,
    );
  });

  it('and without the flag only by the provider', async () => {
    const media = [picture('image/png', Buffer.from('no'))];
    expect(await taken(media, ALL)).toEqual(media);
    expect(await taken(media, ALL, { resize: true })).toEqual(media);
  });
});

describe('made smaller', () => {
  const shrunk = async (media_type: string, data: Buffer) => {
    const media: MediaInput[] = [{ type: 'image', source: base64(media_type, data) }];
    const [block] = await taken(media, ALL, { resize: true, validate: true });
    if (block?.type !== 'image' || block.source.type !== 'base64') throw new Error('no image came back');
    const bytes = Buffer.from(block.source.data, 'base64');
    const { format, width, height } = await sharp(bytes).metadata();
    return { media_type: block.source.media_type, format, width, height, bytes };
  };

  it('to the edge that providers look at, in its own format', async () => {
    expect(await shrunk('image/webp', await image('webp', 4096, 1024))).toMatchObject({
      media_type: 'image/webp',
      format: 'webp',
      width: 2048,
      height: 512,
    });
  });

  it('not at all where it is small enough', async () => {
    const data = await image('png', 2048, 20);
    expect((await shrunk('image/png', data)).bytes.equals(data)).toBe(true);
  });

  it('as JPEG where its own format stays too large', async () => {
    const { media_type, format, bytes } = await shrunk('image/png', await image('png', 2040, 2040));
    expect({ media_type, format }).toEqual({ media_type: 'image/jpeg', format: 'jpeg' });
    expect(bytes.byteLength).toBeLessThanOrEqual(5 * 1024 * 1024);
  });
});
