/**
 * A large document instead of filling the conversation: its text in pieces for the brain, and for the conversation a
 * note of what there is and how to read it. The note must be the same whenever the same document is sent, because a
 * request sent again is told by what it says; so a document's id is made of its name and text. Source: operations,
 * "Flags" (`CONTENT_INGESTION_ENABLED`).
 */
import { createHash } from 'node:crypto';
import type { IngestedDocument, TextBlock } from '../types.ts';

/** About 5,000 tokens: a few pages are read at once more cheaply than with a tool. */
export const INGESTED_CHARACTERS = 20_000;

/**
 * Of all documents of a request: about 1,000 pages. Storing them takes about half a second, in which nothing streams;
 * and a small PDF can have any amount of text in it.
 */
export const MAX_INGESTED_CHARACTERS = 2_000_000;

/** About 1,000 tokens: a page or two, and a few of them fit into one answer of a tool. */
export const CHUNK_CHARACTERS = 4_000;

export function ingested(name: string, text: string): { document: IngestedDocument; note: TextBlock } {
  const digest = createHash('sha256')
    .update(JSON.stringify([name, text]))
    .digest('hex');
  const document = { document_id: `doc-${digest.slice(0, 16)}`, name, chunks: chunksOf(text) };
  const note = `[document ${JSON.stringify(name)}: ${text.length} characters in ${document.chunks.length} chunks, kept outside of this conversation. Read it with ingestion_read, by query or by chunk_id; the first is ${document.document_id}/1]`;
  return { document, note: { type: 'text', text: note, note: 'document' } };
}

/** Pieces of at most `CHUNK_CHARACTERS`, cut where a paragraph, a line or a word ends if one does in their second half. */
export function chunksOf(text: string): string[] {
  const chunks: string[] = [];
  for (let from = 0; from < text.length; ) {
    const piece = text.slice(from, from + CHUNK_CHARACTERS);
    const chunk = from + piece.length === text.length ? piece : piece.slice(0, cutOf(piece));
    chunks.push(chunk);
    from += chunk.length;
  }
  return chunks;
}

function cutOf(piece: string): number {
  for (const end of ['\n\n', '\n', ' ']) {
    const at = piece.lastIndexOf(end) + end.length;
    if (at > piece.length / 2) return at;
  }
  // Never between the two halves of one character.
  return /[\ud800-\udbff]$/.test(piece) ? piece.length - 1 : piece.length;
}
