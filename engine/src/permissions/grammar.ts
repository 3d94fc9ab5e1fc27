/**
 * The shell grammar: what a command says as a tree, by the grammar that editors use.
 *
 * A rule that looks at the text of a command is walked round with a quote. The tree is not the last word either: where
 * this grammar and bash disagree, a command could hide in the difference. So what reads the tree (shell.ts, words.ts)
 * checks it against the text as it goes, and whatever is not exactly as expected counts as not understood.
 *
 * The grammar is WebAssembly, 1.6 MB with its runtime, and is loaded with the first command. Source: engine-runtime,
 * "Permissions".
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Node, Tree } from '@vscode/tree-sitter-wasm';

export type { Node };

/** Reads a command and lets `look` see the root of its tree, which is gone afterwards. @throws NotUnderstood */
export type Grammar = { read<Result>(command: string, look: (root: Node) => Result): Result };

/** What cannot be understood counts as destructive; the message says what it is, in words that follow "has". */
export class NotUnderstood extends Error {
  override name = 'NotUnderstood';
}

/** Characters of one command: as many as the tool takes. */
const MAX_CHARACTERS = 100_000;

/** How often the parser may report that it is not done, about every hundred steps: a text made to be slow is given up. */
const MAX_PROGRESS = 20_000;

/** How deep a tree may be; what reads it calls itself for each level. */
const MAX_DEPTH = 200;

export async function loadGrammar(): Promise<Grammar> {
  const require = createRequire(import.meta.url);
  // CommonJS, with exports that an import does not find.
  const { Language, Parser }: typeof import('@vscode/tree-sitter-wasm') = require('@vscode/tree-sitter-wasm');
  const folder = dirname(require.resolve('@vscode/tree-sitter-wasm'));
  await Parser.init({ locateFile: (file: string) => join(folder, file) });
  const language = await Language.load(join(folder, 'tree-sitter-bash.wasm'));

  return {
    read(command, look) {
      if (command.length > MAX_CHARACTERS) throw new NotUnderstood(`more than ${MAX_CHARACTERS} characters`);
      const parser = new Parser();
      let tree: Tree | null = null;
      try {
        parser.setLanguage(language);
        let left = MAX_PROGRESS;
        // Typed as if it answered nothing; true ends the parsing.
        const progressCallback = (() => --left < 0) as () => void;
        tree = parser.parse(command, null, { progressCallback });
        if (tree === null) throw new NotUnderstood('a text that takes too long to read');
        if (tree.rootNode.hasError) throw new NotUnderstood('a part that does not read as a command');
        checkDepth(tree.rootNode);
        return look(tree.rootNode);
      } finally {
        tree?.delete();
        parser.delete();
      }
    },
  };
}

function checkDepth(root: Node): void {
  let level = [root];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) throw new NotUnderstood('parts nested too deep');
    level = level.flatMap((node) => node.children.filter((child) => child !== null));
  }
}
