import { join } from 'node:path';
import { z } from 'zod';
import { isVisible, openInside, type Roots } from '../sandbox/roots.ts';
import { defineTool, PathInput, type Tool } from './contract.ts';
import { ripgrep } from './ripgrep.ts';

/** Lines of one answer (E20), and bytes, because their paths may be long. */
const MAX_MATCHES = 100;
const MAX_BYTES = 64 * 1024;

/** Shown of a line, bytes; minified files are one line. */
const MAX_LINE = 500;

/** A pattern is a line. */
const MAX_PATTERN = 1_000;

type Match = { path: string; line: number; text: string };

/** Finds lines by a regular expression. Source: engine-runtime, "Platform tools". */
export function grepTool(roots: Roots): Tool {
  return defineTool({
    name: 'grep',
    description: `Finds the lines that match a regular expression, in one file or all text files below a folder (hidden ones too; not what .gitignore names, links are not followed). At most ${MAX_MATCHES} lines: when truncated is true, narrow it. Use it when you know the word; then read_file around the line. For meaning use file_search, for names of files find. Relative paths start at ${roots.paths[0]}. Example: {"pattern": "def handle_\\\\w+", "path": "src", "glob": "*.py"}`,
    effect: 'pure',
    input: z.object({
      pattern: z
        .string()
        .min(1)
        .max(MAX_PATTERN)
        .refine((pattern) => !pattern.includes('\0'), 'must not contain NUL')
        .describe('Regular expression (Rust syntax: no look-around, no back-references), within one line.'),
      path: PathInput.describe('A file, or a folder to look below.'),
      glob: z
        .string()
        .min(1)
        .max(MAX_PATTERN)
        .refine((glob) => !glob.includes('\0'), 'must not contain NUL')
        .optional()
        .describe(
          'Only files below the folder that match, such as *.ts or docs/**; with ! in front all others.',
        ),
      case_insensitive: z.boolean().default(false).describe('Whether a also finds A.'),
    }),
    async run({ pattern, path, glob, case_insensitive }, { signal }) {
      const opened = await openInside(roots, path);
      if ('error' in opened) return opened;
      try {
        const stat = await opened.handle.stat();
        if (!stat.isDirectory() && !stat.isFile()) {
          return { error: 'invalid_input', output: `${path} is neither a file nor a folder.` };
        }
        const matches: Match[] = [];
        let left = MAX_BYTES;
        let is_full = false;
        let has_binary = false;
        const { complaint, stopped } = await ripgrep({
          options: [
            '--null',
            '--line-number',
            '--no-heading',
            '--with-filename',
            `--max-columns=${MAX_LINE}`,
            '--max-columns-preview',
            case_insensitive ? '--ignore-case' : '--case-sensitive',
            `--regexp=${pattern}`,
            ...(glob === undefined ? [] : [`--glob=${glob}`]),
          ],
          where: stat.isFile() ? { file: opened.handle.fd } : { folder: opened.self },
          onLine(said) {
            const end = said.indexOf('\0');
            // Of a file with a NUL in it ripgrep says in words that it has stopped there.
            has_binary ||= end < 0;
            if (end < 0) return true;
            const found = stat.isFile() ? opened.path : join(opened.path, said.slice(0, end));
            if (!isVisible(roots, found)) return true;
            const colon = said.indexOf(':', end);
            const match = {
              path: found,
              line: Number(said.slice(end + 1, colon)),
              text: said.slice(colon + 1),
            };
            left -= Buffer.byteLength(match.path) + Buffer.byteLength(match.text);
            is_full = matches.length === MAX_MATCHES || left < 0;
            if (!is_full) matches.push(match);
            return !is_full;
          },
          signal,
        });
        if (complaint !== undefined) return { error: 'invalid_input', output: complaint };
        const why = is_full ? `only the first ${matches.length} lines that match` : stopped;
        const notes = [
          ...(why === undefined ? [] : [`Not everything: ${why}.`]),
          ...(has_binary ? ['In files that are not text, lines were left out.'] : []),
        ];
        return {
          output: {
            matches,
            truncated: why !== undefined,
            ...(notes.length > 0 && { note: notes.join(' ') }),
          },
        };
      } finally {
        await opened.handle.close();
      }
    },
  });
}
