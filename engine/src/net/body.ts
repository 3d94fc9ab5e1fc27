/**
 * The body of an answer, up to a limit, and as text. A stranger's server may send without end, or a few bytes that
 * unpack into gigabytes: what is kept is counted as it comes, unpacked. Source: engine-runtime, "Platform tools".
 */
/** `cut`: there was more. */
export type Body = { bytes: Uint8Array; cut: boolean };

/** What comes after `max_bytes` is not waited for. @throws when the connection breaks. */
export async function readBody(
  response: { body: AsyncIterable<Uint8Array> | null },
  max_bytes: number,
): Promise<Body> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    size += chunk.byteLength;
    // Leaving the loop cancels the rest.
    if (size > max_bytes) break;
  }
  const bytes = Buffer.concat(chunks, Math.min(size, max_bytes));
  return { bytes, cut: size > max_bytes };
}

/** Where a page may say its charset itself, bytes (HTML standard, "prescan"). */
const PRESCAN_BYTES = 1024;

/** What the web means where nobody says anything and it is no UTF-8. */
const LAST_RESORT = 'windows-1252';

/**
 * Text of bytes: by their mark, by what the server says (`charset`), by what HTML says of itself, as UTF-8, in this order.
 * What cannot be decoded becomes U+FFFD.
 */
export function textOf(bytes: Uint8Array, charset: string | undefined, is_html: boolean): string {
  const label = markOf(bytes) ?? charset ?? (is_html ? declaredIn(bytes) : undefined);
  const decoder = label === undefined ? undefined : decoderOf(label);
  if (decoder !== undefined) return decoder.decode(bytes);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return new TextDecoder(LAST_RESORT).decode(bytes);
  }
}

function markOf(bytes: Uint8Array): string | undefined {
  const [first, second, third] = bytes;
  if (first === 0xef && second === 0xbb && third === 0xbf) return 'utf-8';
  if (first === 0xfe && second === 0xff) return 'utf-16be';
  return first === 0xff && second === 0xfe ? 'utf-16le' : undefined;
}

function declaredIn(bytes: Uint8Array): string | undefined {
  const head = Buffer.from(
    bytes.buffer,
    bytes.byteOffset,
    Math.min(bytes.byteLength, PRESCAN_BYTES),
  ).toString('latin1');
  return /<meta[^>]{0,200}charset\s{0,9}=\s{0,9}["']?([\w:.-]{1,40})/i.exec(head)?.[1];
}

/** Undefined for a charset nobody knows. */
function decoderOf(label: string): InstanceType<typeof TextDecoder> | undefined {
  try {
    return new TextDecoder(label);
  } catch {
    return undefined;
  }
}
