import { join } from 'node:path';
import { z } from 'zod';
import { openInside, type Roots } from '../sandbox/roots.ts';
import { defineTool, PathInput, type Tool, type ToolContext } from './contract.ts';
import { type FileIndex, openFileIndex } from './file_index.ts';
import { ripgrep } from './ripgrep.ts';

/** Passages of one answer. */
const PRESET_LIMIT = 10;
const MAX_LIMIT = 20;

/** What one search reads: of each file its beginning, bytes; of all together; and for how long, milliseconds. */
const MAX_FILES = 20_000;
const MAX_FILE = 1024 * 1024;
const MAX_TOTAL = 32 * 1024 * 1024;
const SEARCH_MS = 20_000;

const MAX_QUERY = 1_000;

/**
 * Finds the passages of a folder's files that say most of a question. By words for now; long-term memory will bring
 * vectors, and `best` of file_index.ts is where both are weighed. Source: engine-runtime, "Platform tools".
 */
export function fileSearchTool(roots: Roots): Tool {
  return defineTool({
    name: 'file_search',
    description: `Finds the passages in text files below a folder that fit a question best, by their words and the files' names: path, line, snippet. Use it when you look for a subject and do not know the exact words; ask with the words such a text would use. For an exact word use grep; to go on, read_file with the offset of a passage. Relative paths start at ${roots.paths[0]}. Example: {"query": "how long a session lasts, login timeout", "path": "docs"}`,
    effect: 'pure',
    input: z.object({
      query: z
        .string()
        .min(1)
        .max(MAX_QUERY)
        .describe('What to look for, in words; their order does not matter.'),
      path: PathInput.describe('The folder to look below.'),
      limit: z.int().min(1).max(MAX_LIMIT).default(PRESET_LIMIT).describe('Passages at most.'),
    }),
    async run({ query, path, limit }, { signal }) {
      const opened = await openInside(roots, path);
      if ('error' in opened) return opened;
      const index = openFileIndex();
      try {
        if (!(await opened.handle.stat()).isDirectory()) {
          return {
            error: 'invalid_input',
            output: `${path} is not a folder; to look into one file use grep.`,
          };
        }
        const names: string[] = [];
        const listed = await ripgrep({
          options: ['--files'],
          where: { folder: opened.self },
          onLine: (name) => names.push(name) <= MAX_FILES,
          signal,
        });
        const read = await readInto(index, {
          roots,
          folder: opened.path,
          names: names.slice(0, MAX_FILES),
          signal,
        });
        const more = names.length > MAX_FILES ? `there are more than ${MAX_FILES} files` : undefined;
        const why = more ?? listed.stopped ?? read.stopped;
        return {
          output: {
            results: index.best(query, limit),
            files_searched: read.files,
            truncated: why !== undefined,
            ...(why && { note: `Not all files were searched: ${why}. Give a folder further down.` }),
          },
        };
      } finally {
        index.close();
        await opened.handle.close();
      }
    },
  });
}

/** `stopped`: why not all were read, in words for the model. */
async function readInto(
  index: FileIndex,
  from: { roots: Roots; folder: string; names: string[] } & Pick<ToolContext, 'signal'>,
): Promise<{ files: number; stopped?: string }> {
  const late = AbortSignal.timeout(SEARCH_MS);
  let files = 0;
  let left = MAX_TOTAL;
  for (const name of from.names) {
    from.signal.throwIfAborted();
    if (late.aborted) return { files, stopped: `it took longer than ${SEARCH_MS / 1000} s` };
    if (left <= 0) return { files, stopped: `they have more than ${MAX_TOTAL} bytes` };
    const path = join(from.folder, name);
    const bytes = await beginning(from.roots, path);
    if (bytes === undefined) continue;
    index.add(path, join(name), bytes);
    left -= bytes.length;
    files++;
  }
  return { files };
}

/** The beginning of a text file; undefined for what is none, or not there any more, or not for us. */
async function beginning(roots: Roots, path: string): Promise<Buffer | undefined> {
  const opened = await openInside(roots, path);
  if ('error' in opened) return undefined;
  try {
    const stat = await opened.handle.stat();
    if (!stat.isFile()) return undefined;
    const buffer = Buffer.alloc(Math.min(stat.size, MAX_FILE));
    const { bytesRead } = await opened.handle.read(buffer, 0, buffer.length, 0);
    const bytes = buffer.subarray(0, bytesRead);
    return bytes.includes(0) ? undefined : bytes;
  } finally {
    await opened.handle.close();
  }
}
