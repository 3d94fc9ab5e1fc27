import type { Dirent } from 'node:fs';
import { opendir } from 'node:fs/promises';
import { z } from 'zod';
import { openInside, type Roots } from '../sandbox/roots.ts';
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
      const opened = await openInside(roots, path);
      if ('error' in opened) return opened;
      try {
        if (!(await opened.handle.stat()).isDirectory()) {
          return { error: 'invalid_input', output: `${path} is not a folder.` };
        }
        const entries: { name: string; type: string }[] = [];
        let truncated = false;
        for await (const entry of await opendir(opened.self)) {
          truncated = entries.length === MAX_ENTRIES;
          if (truncated) break;
          entries.push({ name: entry.name, type: typeOf(entry) });
        }
        entries.sort((a, b) => (a.name < b.name ? -1 : 1));
        return { output: { path: opened.path, entries, truncated } };
      } finally {
        await opened.handle.close();
      }
    },
  });
}

function typeOf(entry: Dirent): 'file' | 'folder' | 'link' | 'other' {
  if (entry.isFile()) return 'file';
  if (entry.isDirectory()) return 'folder';
  return entry.isSymbolicLink() ? 'link' : 'other';
}
