/**
 * What the Engine itself has to tell the model in the middle of a conversation. Providers know two sides only, so it
 * stands on the user's; the block says what it is, so that nobody takes it for the person's word: clients that show
 * the conversation, an edit that names a message, a compaction that carries on what the person said.
 */
import type { ContentBlock, NoteKind, TextBlock } from '../types.ts';

export const note = (kind: NoteKind, text: string): TextBlock => ({ type: 'text', text, note: kind });

export function isNote(block: ContentBlock, kind?: NoteKind): boolean {
  if (block.type !== 'text' || block.note === undefined) return false;
  return kind === undefined || block.note === kind;
}
