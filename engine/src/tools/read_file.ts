import { z } from 'zod';
import { openInside, type Roots } from '../sandbox/roots.ts';
import { defineTool, PathInput, type Tool } from './contract.ts';

/** A page, bytes (E20). */
const PAGE_BYTES = 50 * 1024;

/** The longest character of UTF-8: a page of at least this many bytes always holds a whole one. */
const LONGEST_CHARACTER = 4;

/** Reads text inside the allowed roots, a page at a time. Source: engine-runtime, "Platform tools". */
export function readFileTool(roots: Roots): Tool {
  return defineTool({
    name: 'read_file',
    description: `Reads a text file, up to ${PAGE_BYTES} bytes at a time. When next_offset is not null there is more: call again with it as offset. Relative paths start at ${roots.paths[0]}. Not for folders: use list_files; to find a place in a large file: grep. Example: {"path": "notes/plan.md"}`,
    effect: 'pure',
    input: z.object({
      path: PathInput.describe('The file, absolute or relative.'),
      offset: z.int().min(0).default(0).describe('Byte to start at; use next_offset of the page before.'),
      limit: z.int().min(1).max(PAGE_BYTES).default(PAGE_BYTES).describe('Bytes to read at most.'),
    }),
    async run({ path, offset, limit }) {
      const opened = await openInside(roots, path);
      if ('error' in opened) return opened;
      const { handle } = opened;
      try {
        const stat = await handle.stat();
        if (!stat.isFile()) return { error: 'invalid_input', output: `${path} is not a file.` };
        if (offset > stat.size) {
          return {
            error: 'invalid_input',
            output: `offset is past the end: ${path} has ${stat.size} bytes.`,
          };
        }
        const buffer = Buffer.alloc(Math.max(limit, LONGEST_CHARACTER));
        const { bytesRead } = await handle.read(buffer, 0, buffer.length, offset);
        const bytes = buffer.subarray(0, bytesRead);
        if (bytes.includes(0)) return { error: 'invalid_input', output: `${path} is not a text file.` };
        const page = offset + bytesRead >= stat.size ? bytes : bytes.subarray(0, wholeCharacters(bytes));
        const next_offset = offset + page.length;
        return {
          output: {
            text: page.subarray(offset === 0 ? 0 : continuationBytes(page)).toString('utf8'),
            size: stat.size,
            next_offset: next_offset < stat.size ? next_offset : null,
          },
        };
      } finally {
        await handle.close();
      }
    },
  });
}

/** How many bytes can be cut off without cutting a character; all, when the end is not UTF-8 anyway. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back < LONGEST_CHARACTER && back < bytes.length; back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (isContinuation(byte)) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** How many bytes at the start belong to a character that begins before the page. */
function continuationBytes(bytes: Buffer): number {
  let count = 0;
  while (count < LONGEST_CHARACTER - 1 && count < bytes.length && isContinuation(bytes[count] ?? 0)) count++;
  return count;
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}
