import { z } from 'zod';
import { openPlace, type Roots } from '../sandbox/roots.ts';
import { defineTool, PathInput, type Tool } from './contract.ts';
import {
  appendToFile,
  type FileQueue,
  MAX_WRITTEN_CHARACTERS,
  refusal,
  replaceFile,
  withOpened,
  writes,
} from './writing.ts';

/** Writes text inside the allowed roots, or where a person has opened it. Source: engine-runtime, "Platform tools". */
export function writeFileTool(roots: Roots, inTurn: FileQueue): Tool {
  return defineTool({
    name: 'write_file',
    description: `Writes a text file: replaces it (overwrite), or adds to its end (append); makes it when it is not there. The folder must exist. To change a part of a file use edit_file. Relative paths start at ${roots.paths[0]}; outside of the allowed folders the user is asked first. Example: {"path": "notes.md", "content": "# Notes\\n"}`,
    // What was appended and what was not cannot be told apart afterwards.
    effect: ({ mode }) => (mode === 'append' ? 'once' : 'idempotent'),
    input: z.object({
      path: PathInput.describe('The file, absolute or relative.'),
      content: z.string().max(MAX_WRITTEN_CHARACTERS).describe('The whole text to write.'),
      mode: z
        .enum(['overwrite', 'append'])
        .default('overwrite')
        .describe(
          'overwrite: the file holds just this text afterwards. append: the text follows what is there.',
        ),
    }),
    acts: writes,
    async run({ path, content, mode }, context) {
      const place = await openPlace(withOpened(roots, context), path);
      if ('error' in place) return place;
      try {
        const write = mode === 'append' ? appendToFile : replaceFile;
        await inTurn(place.path, () => write(place.self, place.name, content));
        return { output: { path: place.path, bytes_written: Buffer.byteLength(content) } };
      } catch (error) {
        return refusal(path, error);
      } finally {
        await place.handle.close();
      }
    },
  });
}
