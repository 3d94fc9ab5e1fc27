/**
 * Writes text inside the allowed roots. The folder is opened first and the file is named from there, so that no
 * link put in place meanwhile leads out. Overwriting replaces the file in one step: whoever reads sees the old
 * text or the new. Source: engine-runtime, "Platform tools".
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { systemCode } from '../errors.ts';
import { isVisible, locate, openInside, outside, type Roots } from '../sandbox/roots.ts';
import { defineTool, PathInput, type Tool, type ToolOutcome } from './contract.ts';

/** One call; more is written in several. */
const MAX_CHARACTERS = 1_000_000;

/** Text up to `MAX_CHARACTERS` a call. */
export function writeFileTool(roots: Roots): Tool {
  return defineTool({
    name: 'write_file',
    description: `Writes a text file: replaces it (overwrite), or adds to its end (append); makes it when it is not there. The folder must exist. Relative paths start at ${roots.paths[0]}.`,
    // What was appended and what was not cannot be told apart afterwards.
    effect: ({ mode }) => (mode === 'append' ? 'once' : 'idempotent'),
    input: z.object({
      path: PathInput.describe('The file, absolute or relative.'),
      content: z.string().max(MAX_CHARACTERS).describe('The text.'),
      mode: z.enum(['overwrite', 'append']).default('overwrite'),
    }),
    async run({ path, content, mode }) {
      const target = await locateTarget(roots, path);
      if ('error' in target) return target;
      const folder = await openInside(roots, dirname(target.path));
      if ('error' in folder) return folder;
      try {
        const name = basename(target.path);
        if (!isVisible(roots, join(folder.path, name))) return outside(path);
        const write = mode === 'append' ? append : replace;
        await write(folder.self, name, content);
        return { output: { path: join(folder.path, name), bytes_written: Buffer.byteLength(content) } };
      } catch (error) {
        return refusal(path, error);
      } finally {
        await folder.handle.close();
      }
    },
  });
}

/** The file that a path means: the one it leads to, or where there is none, the place for it. */
async function locateTarget(roots: Roots, path: string) {
  const located = await locate(roots, path);
  return 'error' in located && located.error === 'not_found'
    ? { path: resolve(roots.paths[0], path) }
    : located;
}

async function append(folder: string, name: string, content: string): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
  await written(await open(join(folder, name), flags | constants.O_NONBLOCK, 0o644), content);
}

async function replace(folder: string, name: string, content: string): Promise<void> {
  const fresh = join(folder, `.${name.slice(0, 100)}.${randomBytes(6).toString('hex')}`);
  try {
    await written(await open(fresh, 'wx', 0o644), content);
    await rename(fresh, join(folder, name));
  } catch (error) {
    // It may not have come into being; what went wrong before says more.
    await unlink(fresh).catch(() => undefined);
    throw error;
  }
}

async function written(file: FileHandle, content: string): Promise<void> {
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

function refusal(path: string, error: unknown): ToolOutcome {
  const code = systemCode(error);
  if (code === 'EISDIR' || code === 'ENOTEMPTY') {
    return { error: 'invalid_input', output: `${path} is a folder.` };
  }
  if (code === 'ELOOP' || code === 'EACCES' || code === 'EPERM' || code === 'ENXIO') return outside(path);
  if (code === undefined) throw error;
  return { error: 'execution_failed', output: `${path} could not be written (${code}).` };
}
