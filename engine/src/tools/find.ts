import type { Stats } from 'node:fs';
import { z } from 'zod';
import { isVisible, openInside, type Roots } from '../sandbox/roots.ts';
import { defineTool, PathInput, type Tool } from './contract.ts';
import { ENTRY_TYPES, type Entry, walk } from './walk.ts';
import { fits } from './wildcard.ts';

/** Paths of one answer, and bytes: a path may have 4,096 of them. */
const MAX_PATHS = 1_000;
const MAX_BYTES = 100 * 1024;

/** A walk on a slow disk, milliseconds; well below what a tool has. */
const WALK_MS = 30_000;

/** Finds files and folders by what they are, not by what is in them. Source: engine-runtime, "Platform tools". */
export function findTool(roots: Roots): Tool {
  return defineTool({
    name: 'find',
    description: `Finds files and folders anywhere below a folder by name, type, age and size; hidden ones too, links are not followed. All conditions have to hold. At most ${MAX_PATHS} paths: when truncated is true, narrow it. For what is in files use grep, for one folder list_files. Relative paths start at ${roots.paths[0]}. Example: {"path": "src", "name": "*.test.ts", "type": "file"}`,
    effect: 'pure',
    input: z.object({
      path: PathInput.describe('The folder to look below.'),
      name: z
        .string()
        .min(1)
        .max(255)
        .optional()
        .describe('Pattern of the last part of the path: * is any text, ? any character. Case counts.'),
      type: z.enum(ENTRY_TYPES).optional().describe('What it is.'),
      modified_since: z
        .union([z.iso.datetime({ offset: true }), z.iso.date()])
        .optional()
        .describe(
          'Changed then or later: a date (UTC) or a time, such as 2026-03-01 or 2026-03-01T12:00:00Z.',
        ),
      min_size: z.int().min(0).optional().describe('Bytes at least; files only.'),
      max_size: z.int().min(0).optional().describe('Bytes at most; files only.'),
    }),
    async run({ path, name, type, modified_since, min_size, max_size }, { signal }) {
      const opened = await openInside(roots, path);
      if ('error' in opened) return opened;
      const since = modified_since === undefined ? undefined : Date.parse(modified_since);
      const by_size = min_size !== undefined || max_size !== undefined;

      function isMeant(entry: Entry): boolean {
        if (name !== undefined && !fits(name, entry.name)) return false;
        if (type !== undefined && entry.type !== type) return false;
        return (!by_size || entry.type === 'file') && isVisible(roots, entry.path);
      }
      function isMeantBy({ mtimeMs, size }: Stats): boolean {
        if (since !== undefined && mtimeMs < since) return false;
        return !by_size || (size >= (min_size ?? 0) && size <= (max_size ?? Number.POSITIVE_INFINITY));
      }

      try {
        if (!(await opened.handle.stat()).isDirectory()) {
          return { error: 'invalid_input', output: `${path} is not a folder.` };
        }
        const { entries, stopped } = walk(opened, { signal, late: AbortSignal.timeout(WALK_MS) });
        const paths: string[] = [];
        let left = MAX_BYTES;
        let is_full = false;
        for await (const entry of entries) {
          if (!isMeant(entry)) continue;
          if (since !== undefined || by_size) {
            const stat = await entry.stat();
            if (stat === undefined || !isMeantBy(stat)) continue;
          }
          left -= Buffer.byteLength(entry.path);
          is_full = paths.length === MAX_PATHS || left < 0;
          if (is_full) break;
          paths.push(entry.path);
        }
        paths.sort();
        const why = is_full ? `only the first ${paths.length} that were found` : stopped();
        return {
          output: { paths, truncated: why !== undefined, ...(why && { note: `Not everything: ${why}.` }) },
        };
      } finally {
        await opened.handle.close();
      }
    },
  });
}
