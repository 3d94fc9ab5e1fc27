import type { Dirent } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { z } from 'zod';
import { systemCode } from '../errors.ts';
import { locate, type Roots } from '../sandbox/roots.ts';
import { defineTool, PathInput, type Tool } from './contract.ts';

/** Entries of one answer; a folder may hold millions. */
const MAX_ENTRIES = 1_000;

/** Lists one folder inside the allowed roots. Source: engine-runtime, "Platform tools". */
export function listFilesTool(roots: Roots): Tool {
  return defineTool({
    name: 'list_files',
    description: `Lists the files and folders in one folder, up to ${MAX_ENTRIES}, without what is below them. Relative paths start at ${roots.paths[0]}.`,
    effect: 'pure',
    input: z.object({
      path: PathInput.default('.').describe('The folder.'),
    }),
    async run({ path }) {
      const located = await locate(roots, path);
      if ('error' in located) return located;
      const entries: { name: string; type: string }[] = [];
      let truncated = false;
      try {
        for await (const entry of await opendir(located.path)) {
          truncated = entries.length === MAX_ENTRIES;
          if (truncated) break;
          entries.push({ name: entry.name, type: typeOf(entry) });
        }
      } catch (error) {
        if (systemCode(error) !== 'ENOTDIR') throw error;
        return { error: 'invalid_input', output: `${path} is not a folder.` };
      }
      entries.sort((a, b) => (a.name < b.name ? -1 : 1));
      return { output: { path: located.path, entries, truncated } };
    },
  });
}

function typeOf(entry: Dirent): 'file' | 'folder' | 'link' | 'other' {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  return entry.isSymbolicLink() ? 'link' : 'other';
}
