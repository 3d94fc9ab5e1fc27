import sharp from 'sharp';

/**
 * Looking at images and making them smaller, by libvips, off the main thread. Loaded with the first image that
 * needs it: an Engine that sees none pays nothing.
 */

/** Providers scale larger ones down themselves, after we have paid for sending them. */
export const MAX_EDGE_PX = 2048;

/** Anthropic's limit for one image, and advice for the others. */
export const MAX_IMAGE_BYTES = 5 * 1024 * 1024;

/** Decoded this is 400 MB; more is a bomb or a mistake. */
const MAX_PIXELS = 100_000_000;

/** Where the format itself is not small enough. */
const JPEG_QUALITY = 85;

/** libvips reads many more, some of which are programs of their own. */
const FORMATS = new Set<string>(['png', 'jpeg', 'webp', 'gif']);

export type ImageFacts = { media_type: string; width: number; height: number };

const open = (data: Uint8Array) => sharp(data, { limitInputPixels: MAX_PIXELS, animated: true });

/** @returns undefined for what is no image, is broken, or is larger than anything should be. */
export async function lookAt(data: Uint8Array): Promise<ImageFacts | undefined> {
  try {
    const { format, width, pageHeight, height } = await open(data).metadata();
    if (!FORMATS.has(format)) return undefined;
    return { media_type: `image/${format}`, width, height: pageHeight ?? height };
  } catch {
    return undefined;
  }
}

/** The image within the limits above, turned as its EXIF says; unchanged where it is within them already. */
export async function shrink(
  data: Uint8Array,
  facts: ImageFacts,
): Promise<{ data: Uint8Array; media_type: string }> {
  const { media_type, width, height } = facts;
  if (Math.max(width, height) <= MAX_EDGE_PX && data.byteLength <= MAX_IMAGE_BYTES) {
    return { data, media_type };
  }
  const smaller = open(data)
    .autoOrient()
    .resize({ width: MAX_EDGE_PX, height: MAX_EDGE_PX, fit: 'inside', withoutEnlargement: true });
  const same = await smaller.toBuffer();
  if (same.byteLength <= MAX_IMAGE_BYTES) return { data: same, media_type };
  const jpeg = await smaller.flatten({ background: 'white' }).jpeg({ quality: JPEG_QUALITY }).toBuffer();
  return { data: jpeg, media_type: 'image/jpeg' };
}
