/**
 * What the agent notes within a task, and how it sees it again.
 *
 * A note that changes must not change what was sent before (E14). So the notes are shown as they stood when a message
 * came, in the tail of that message, for good; what is written later stands in the results of the calls that wrote it,
 * and in the tail of the next message. Source: engine-runtime, "Context" and "Memory".
 */
import type { Brain } from '../brain/brain.ts';
import { NOTE_LIMITS, type Note, type NoteChange } from '../brain/working_memory.ts';
import type { ToolOutcome } from '../tools/contract.ts';
import type { ContentBlock } from '../types.ts';
import type { ThreadRecord } from './record.ts';
import { safeText } from './text.ts';

/** A change by a tool call. It may be run again after a kill; it happens once, and so does its event. */
export function writeNote(
  { brain, task_id, record }: { brain: Brain; task_id: string; record: ThreadRecord },
  change: NoteChange,
): ToolOutcome {
  const { working_memory } = brain;
  if (working_memory.has(change.source)) return DONE;
  const value = change.value === null ? null : safeText(change.value);
  const notes = working_memory.ofTask(task_id);
  if (value === null && !notes.some(({ key }) => key === change.key)) return DONE;
  if (value !== null && !fits(notes, { key: change.key, value })) {
    return {
      error: 'execution_failed',
      output: `All notes together may have ${NOTE_LIMITS.total_bytes} bytes. Delete or shorten some first: ${notes
        .map((note) => `${note.key} (${sizeOf(note)})`)
        .join(', ')}.`,
    };
  }
  record.remember({ ...change, value });
  return DONE;
}

const DONE: ToolOutcome = { output: 'ok' };

/** Whether a note has room beside the others. */
export function fits(notes: Note[], note: Note): boolean {
  const total = withNote(notes, note).reduce((sum, each) => sum + sizeOf(each), 0);
  return total <= NOTE_LIMITS.total_bytes;
}

/** The notes once this one is among them, by key. */
export function withNote(notes: Note[], note: Note): Note[] {
  const others = notes.filter(({ key }) => key !== note.key);
  return [...others, note].sort((a, b) => (a.key < b.key ? -1 : 1));
}

const sizeOf = ({ key, value }: Note) => Buffer.byteLength(key) + Buffer.byteLength(value);

/** The tail of a message that comes while these are the notes. */
export function notesTail(notes: Note[]): ContentBlock[] {
  if (notes.length === 0) return [];
  return [{ type: 'text', text: renderNotes(notes, 'Your notes, as they stood when this message came:') }];
}

/** Notes as the model reads them, word for word; '' where there are none. */
export function renderNotes(notes: Note[], introduction: string): string {
  if (notes.length === 0) return '';
  const each = notes.map(({ key, value }) => `<note key="${key}">\n${value}\n</note>`);
  return ['<working_memory>', introduction, ...each, '</working_memory>'].join('\n');
}
