/**
 * Changes a part of a file by naming its text, not its place.
 *
 * A model counts lines badly and quotes well. So it says what stands there, and that has to stand there exactly once:
 * a text that is found twice would be changed in the wrong place half of the time, one that is not found means that
 * the model's picture of the file is old. Both are told with what helps to mend the call, and change nothing.
 * Source: engine-runtime, "Tools".
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { systemCode } from '../errors.ts';
import { openPlace, type Roots } from '../sandbox/roots.ts';
import { defineTool, PathInput, type Tool, type ToolOutcome } from './contract.ts';
import {
  type FileQueue,
  MAX_WRITTEN_CHARACTERS,
  refusal,
  replaceFile,
  withOpened,
  writes,
} from './writing.ts';

/** A file is read, changed and written whole, bytes. */
const MAX_FILE = 10 * 1024 * 1024;

/** Places named when there are several. */
const MAX_LINES = 10;

type Edit = { old_string: string; new_string: string; replace_all: boolean };

export function editFileTool(roots: Roots, inTurn: FileQueue): Tool {
  const input = z.object({
    path: PathInput.describe('The file, absolute or relative.'),
    old_string: z
      .string()
      .min(1, 'must not be empty; write_file makes files and adds to them')
      .max(MAX_WRITTEN_CHARACTERS)
      .describe(
        'The text to replace, exactly as it stands in the file, spaces and line breaks included; with so much around it that it stands there only once.',
      ),
    new_string: z.string().max(MAX_WRITTEN_CHARACTERS).describe('What is to stand there instead.'),
    replace_all: z.boolean().default(false).describe('Replace it wherever it stands, however often.'),
  });
  return defineTool({
    name: 'edit_file',
    description: `Replaces a piece of text in a file. Read the file first: old_string must stand in it exactly once (or use replace_all), otherwise nothing is changed. For new files, and to replace a whole file, use write_file. Relative paths start at ${roots.paths[0]}. Example: {"path": "app.py", "old_string": "retries = 3", "new_string": "retries = 5"}`,
    effect: 'checkable',
    input,
    acts: writes,
    async run({ path, ...edit }, context) {
      if (edit.old_string === edit.new_string) {
        return { error: 'invalid_input', output: 'old_string and new_string are the same.' };
      }
      const place = await openPlace(withOpened(roots, context), path);
      if ('error' in place) return place;
      try {
        return await inTurn(place.path, async () => {
          context.signal.throwIfAborted();
          const file = await readText(place, path);
          if ('error' in file) return file;
          const edited = editText(file.text, edit);
          if ('error' in edited) return { ...edited, output: `${path}: ${edited.output}` };
          await replaceFile(place.self, place.name, edited.text);
          const { replacements, line } = edited;
          return { output: { path: place.path, replacements, line } };
        });
      } catch (error) {
        context.signal.throwIfAborted();
        return refusal(path, error);
      } finally {
        await place.handle.close();
      }
    },
    /** The file is replaced in one step, so its text tells; unless the new text has the old one in it, and is there. */
    async check(given, context) {
      const parsed = input.safeParse(given);
      if (!parsed.success) return 'undone';
      const { path, ...edit } = parsed.data;
      const place = await openPlace(withOpened(roots, context), path);
      if ('error' in place) return 'undone';
      try {
        const file = await readText(place, path);
        if ('error' in file) return 'undone';
        const { old_string, new_string } = lineEndsOf(file.text, edit);
        const has_new = file.text.includes(new_string);
        if (file.text.includes(old_string)) {
          return has_new && new_string.includes(old_string) ? 'unknown' : 'undone';
        }
        if (!has_new) return 'undone';
        return { output: { path: place.path, note: 'The text was replaced before the Engine was stopped.' } };
      } catch (error) {
        // Running it again tells what is wrong.
        if (systemCode(error) === undefined) throw error;
        return 'undone';
      } finally {
        await place.handle.close();
      }
    },
  });
}

type Refused = ToolOutcome & { error: 'invalid_input' | 'not_found' };

async function readText(
  place: { self: string; name: string },
  path: string,
): Promise<{ text: string } | Refused> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  let file: FileHandle;
  try {
    file = await open(join(place.self, place.name), flags);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    return { error: 'not_found', output: `There is no file ${path}; write_file makes one.` };
  }
  try {
    const stat = await file.stat();
    if (!stat.isFile()) return { error: 'invalid_input', output: `${path} is not a file.` };
    if (stat.size > MAX_FILE) {
      return {
        error: 'invalid_input',
        output: `${path} has ${stat.size} bytes; files of up to ${MAX_FILE} can be edited.`,
      };
    }
    const text = textOf(await file.readFile());
    return text === undefined
      ? { error: 'invalid_input', output: `${path} is not a text file in UTF-8.` }
      : { text };
  } finally {
    await file.close();
  }
}

/** Undefined for what is no UTF-8, which would not come out as it went in; a byte order mark stays. */
function textOf(bytes: Buffer): string | undefined {
  if (bytes.includes(0)) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** `line`: of the first place, from 1. */
export function editText(
  text: string,
  edit: Edit,
): { text: string; replacements: number; line: number } | Refused {
  const { old_string, new_string } = lineEndsOf(text, edit);
  const pieces = text.split(old_string);
  const replacements = pieces.length - 1;
  if (replacements === 0) {
    const near = nearLine(text, old_string);
    const hint =
      near === undefined
        ? 'Read the file again and quote it exactly.'
        : `But for spaces it stands at line ${near}: quote it exactly as it is there.`;
    return { error: 'not_found', output: `old_string is not in the file. ${hint}` };
  }
  if (replacements > 1 && !edit.replace_all) {
    return {
      error: 'invalid_input',
      output: `old_string is in the file ${replacements} times, at ${lines(text, old_string, replacements)}. Quote more around the one that is meant, or use replace_all.`,
    };
  }
  if (text.length + replacements * (new_string.length - old_string.length) > MAX_FILE) {
    return { error: 'invalid_input', output: 'the file would become too large to be edited again.' };
  }
  return { text: pieces.join(new_string), replacements, line: lineAt(text, text.indexOf(old_string)) };
}

/** Models write LF. In a file whose lines all end in CRLF that is what they mean, and what the file keeps. */
function lineEndsOf(text: string, edit: Edit): Pick<Edit, 'old_string' | 'new_string'> {
  if (!text.includes('\r\n') || /(?<!\r)\n/.test(text)) return edit;
  const crlf = (piece: string) => piece.replace(/\r?\n/g, '\r\n');
  return { old_string: crlf(edit.old_string), new_string: crlf(edit.new_string) };
}

function lines(text: string, wanted: string, count: number): string {
  const found: number[] = [];
  for (let at = text.indexOf(wanted); at >= 0 && found.length < MAX_LINES; ) {
    found.push(lineAt(text, at));
    at = text.indexOf(wanted, at + wanted.length);
  }
  return `lines ${found.join(', ')}${count > found.length ? ' and more' : ''}`;
}

function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf('\n'); at >= 0 && at < index; at = text.indexOf('\n', at + 1)) line++;
  return line;
}

/** The line where whole lines stand that differ from `wanted` in nothing but spaces. */
function nearLine(text: string, wanted: string): number | undefined {
  const plain = (part: string) => part.split('\n').map((line) => line.replace(/\s+/g, ' ').trim());
  const looked_for = plain(wanted).join('\n').trim();
  if (looked_for === '') return undefined;
  const all = `\n${plain(text).join('\n')}\n`;
  const at = all.indexOf(`\n${looked_for}\n`);
  return at < 0 ? undefined : lineAt(all, at + 1) - 1;
}
