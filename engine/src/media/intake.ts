import { EngineError } from '../errors.ts';
import type { ImageBlock, MediaBlock, TakenMedia } from '../types.ts';
import type { MediaInput } from './blocks.ts';
import { INGESTED_CHARACTERS, ingested, MAX_INGESTED_CHARACTERS } from './chunks.ts';
import type { PdfReader } from './pdf.ts';
import { Unreadable } from './worker.ts';

/**
 * What becomes of media between the client and the conversation.
 *
 * It happens once, before the turn begins: a refusal is still an HTTP answer then, and what is stored is what
 * every later call sends again, byte for byte (E14). Source: engine-api, "Media blocks"; operations, "Flags".
 */
export type MediaIntake = {
  /**
   * The blocks as they are stored. `model` and `takes`: of the model that will answer. `field`: where in the request
   * they stood.
   * @throws EngineError `INVALID_REQUEST` for what the model cannot take or nobody can read.
   */
  prepare(media: MediaInput[], model: ModelTaste, field?: string): Promise<TakenMedia>;
};

/** How a model takes each kind of media. */
export type ModelTaste = {
  model: string;
  takes: Record<MediaInput['type'], 'base64' | 'url' | 'both' | 'no'>;
};

export type MediaOptions = {
  pdf: PdfReader;
  /** `MEDIA_PRESEND_VALIDATION_ENABLED`: look into images and at their size before the provider does. */
  validate: boolean;
  /** `MEDIA_IMAGE_RESIZE_ENABLED`: make images smaller that are larger than they should be. */
  resize: boolean;
  /** `CONTENT_INGESTION_ENABLED`: the text of large documents is kept outside of the conversation. */
  ingest: boolean;
};

export function createMediaIntake(options: MediaOptions): MediaIntake {
  return {
    async prepare(media, model, field = 'media') {
      const taken: TakenMedia = { blocks: [], documents: [] };
      let kept = 0;
      for (const [index, block] of media.entries()) {
        const refuse: Refuse = (problem) => refusal(`${field}.${index}`, problem);
        const large = options.ingest ? await largeText(block, options.pdf) : undefined;
        if (large === undefined) {
          taken.blocks.push(await prepareBlock(block, model, options, refuse));
          continue;
        }
        kept += large.text.length;
        if (kept > MAX_INGESTED_CHARACTERS) {
          throw refuse(
            `the large documents have more than ${MAX_INGESTED_CHARACTERS} characters of text together`,
          );
        }
        const { document, note } = ingested(large.name, large.text);
        taken.blocks.push(note);
        taken.documents.push(document);
      }
      return taken;
    },
  };
}

/** The text of a document that is too large for a conversation; undefined for all else, as it is. */
async function largeText(
  block: MediaInput,
  pdf: PdfReader,
): Promise<{ name: string; text: string } | undefined> {
  if (block.type !== 'document' || block.source.type !== 'base64') return undefined;
  const { media_type, data } = block.source;
  const bytes = Buffer.from(data, 'base64');
  try {
    const text = media_type === 'application/pdf' ? await pdf.text(bytes) : bytes.toString('utf8');
    if (text.length <= INGESTED_CHARACTERS) return undefined;
    // SQLite would end a text there.
    return { name: block.name ?? media_type, text: text.replaceAll('\0', ' ') };
  } catch (error) {
    // A PDF of pictures has no text to be kept; whether the model takes it as it is, is said where it always is.
    if (error instanceof Unreadable) return undefined;
    throw error;
  }
}

type Refuse = (problem: string) => EngineError;

async function prepareBlock(
  block: MediaInput,
  model: ModelTaste,
  options: MediaOptions,
  refuse: Refuse,
): Promise<ImageBlock | MediaBlock> {
  const takes = model.takes[block.type];
  const native = takes === 'both' || takes === block.source.type;
  if (block.type === 'document' && block.source.type === 'base64') {
    const { media_type, data } = block.source;
    const bytes = Buffer.from(data, 'base64');
    if (media_type !== 'application/pdf') return { ...block, text: withinLimit(bytes.toString('utf8')) };
    if (!native) return { ...block, text: withinLimit(await pdfText(bytes, options.pdf, refuse)) };
    if (options.validate && !bytes.subarray(0, 1024).includes('%PDF-')) throw refuse('is no PDF');
    return block;
  }
  if (!native) {
    throw refuse(
      takes === 'no'
        ? `${model.model} does not take ${PLURAL[block.type]}`
        : `${model.model} takes ${PLURAL[block.type]} only as ${takes}`,
    );
  }
  return block.type === 'image' ? prepareImage(block, options, refuse) : block;
}

const PLURAL = { image: 'images', document: 'documents', audio: 'audio', video: 'video' };

/** About 100,000 tokens: beyond it nothing but the document would fit into most models. */
const MAX_CHARACTERS = 400_000;

function withinLimit(text: string): string {
  if (text.length <= MAX_CHARACTERS) return text;
  return `${text.slice(0, MAX_CHARACTERS)}\n[cut here: the document has ${text.length} characters]`;
}

async function pdfText(data: Uint8Array, pdf: PdfReader, refuse: Refuse): Promise<string> {
  try {
    return await pdf.text(data);
  } catch (error) {
    if (error instanceof Unreadable) throw refuse(`the PDF ${error.message}`);
    throw error;
  }
}

async function prepareImage(block: ImageBlock, options: MediaOptions, refuse: Refuse): Promise<ImageBlock> {
  const { source } = block;
  if (source.type === 'url' || !(options.validate || options.resize)) return block;
  const { lookAt, MAX_EDGE_PX, MAX_IMAGE_BYTES, shrink } = await import('./image.ts');
  const bytes = Buffer.from(source.data, 'base64');
  const facts = await lookAt(bytes);
  if (facts === undefined) {
    if (options.validate) throw refuse('is no image that can be read');
    return block;
  }
  if (options.validate && facts.media_type !== source.media_type) {
    throw refuse(`is ${facts.media_type}, not ${source.media_type}`);
  }
  if (options.resize) {
    const { data, media_type } = await shrink(bytes, facts);
    return {
      type: 'image',
      source: { type: 'base64', media_type, data: Buffer.from(data).toString('base64') },
    };
  }
  const edge = Math.max(facts.width, facts.height);
  if (bytes.byteLength > MAX_IMAGE_BYTES || edge > MAX_ACCEPTED_EDGE_PX) {
    throw refuse(
      `is ${bytes.byteLength} bytes, ${facts.width} by ${facts.height} pixels; at most ${MAX_IMAGE_BYTES} bytes and ${MAX_ACCEPTED_EDGE_PX} pixels are taken, ${MAX_EDGE_PX} pixels are enough`,
    );
  }
  return block;
}

/** Anthropic refuses longer edges, the others scale them down. */
const MAX_ACCEPTED_EDGE_PX = 8000;

function refusal(path: string, problem: string): EngineError {
  return new EngineError('INVALID_REQUEST', `${path}: ${problem}`, { issues: [{ path, message: problem }] });
}
