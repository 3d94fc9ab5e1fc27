import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { isVisible, openInside, type Roots } from '../sandbox/roots.ts';
import { defineTool, PathInput, type Tool } from './contract.ts';
import { type EntryType, typeOf } from './walk.ts';

/** Entries of one answer; a folder may hold millions. */
const MAX_ENTRIES = 1_000;

/** Lists one folder inside the allowed roots. Source: engine-runtime, "Platform tools". */
export function listFilesTool(roots: Roots): Tool {
  return defineTool({
    name: 'list_files',
    description: `Lists the files and folders in one folder, up to ${MAX_ENTRIES}, without what is below them. To look further down use find. Relative paths start at ${roots.paths[0]}. Example: {"path": "reports"}`,
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
        const entries: { name: string; type: EntryType }[] = [];
        let truncated = false;
        for await (const entry of await opendir(opened.self)) {
          if (!isVisible(roots, join(opened.path, entry.name))) continue;
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
