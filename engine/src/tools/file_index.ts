/**
 * Ranks the passages of files by how well they fit a question in words.
 *
 * Someone who asks "where is it decided how long a session lasts" does not know the line, so grep does not help: what
 * is wanted is the passages that say most of the words, rare words first, long passages last. That is BM25, and FTS5
 * has it. The index is made for one search and kept in memory: files change under every index that is kept, and one
 * that is made anew cannot be wrong. Source: engine-runtime, "Platform tools" (`file_search`).
 */
import { DatabaseSync } from 'node:sqlite';
import { anyWordOf } from '../brain/full_text.ts';
import { integer, real, text } from '../brain/sqlite.ts';
import { chunksOf } from '../media/chunks.ts';

/**
 * `line`: of the snippet, from 1. `offset`: of the passage it is in, bytes, for read_file. A better fit has a higher
 * `score`.
 */
export type Passage = { path: string; line: number; offset: number; score: number; snippet: string };

/** Words of a snippet; FTS5 gives at most 64. */
const SNIPPET_WORDS = 50;

/** Characters of a snippet: what is no language has words without end. */
const MAX_SNIPPET = 1_000;

/** Passages of one file in one answer: the fourth best of a long one says less than the best of another. */
const MAX_OF_FILE = 3;

/** Passages that are looked at for one answer, so that a file with many leaves room for others. */
const CANDIDATES = 500;

export type FileIndex = {
  /** `path` is what it is called in the answer, `name` what is searched of it, with its first passage. */
  add(path: string, name: string, bytes: Buffer): void;
  best(query: string, limit: number): Passage[];
  close(): void;
};

export function openFileIndex(): FileIndex {
  const db = new DatabaseSync(':memory:');
  db.exec(`
    CREATE VIRTUAL TABLE passages USING fts5 (
      path UNINDEXED, line UNINDEXED, offset UNINDEXED, name, text,
      tokenize = 'porter unicode61 remove_diacritics 2'
    );
    BEGIN`);
  const insert = db.prepare('INSERT INTO passages (path, line, offset, name, text) VALUES (?, ?, ?, ?, ?)');
  const ranked = db.prepare(`
    SELECT rowid, path, rank FROM passages WHERE passages MATCH ? ORDER BY rank, rowid LIMIT ${CANDIDATES}`);
  // Numbers are bound as floating point, which FTS5 does not take for a rowid.
  const shown = db.prepare(`
    SELECT line, offset, text, snippet(passages, 4, '', '', '', ${SNIPPET_WORDS}) AS snippet
      FROM passages WHERE passages MATCH ? AND rowid = CAST(? AS INTEGER)`);

  return {
    add(path, name, bytes) {
      const content = decode(bytes);
      let line = 1;
      let offset = 0;
      for (const chunk of chunksOf(content.text)) {
        insert.run(path, line, offset, offset === 0 ? wordsOfName(name) : '', chunk);
        line += lineBreaks(chunk);
        offset += Buffer.byteLength(chunk, content.encoding);
      }
    },

    best(query, limit) {
      const words = anyWordOf(query);
      if (words === undefined) return [];
      const of_file = new Map<string, number>();
      const best: Passage[] = [];
      for (const row of ranked.all(words)) {
        if (best.length === limit) break;
        const path = text(row, 'path');
        const count = of_file.get(path) ?? 0;
        if (count === MAX_OF_FILE) continue;
        of_file.set(path, count + 1);
        const passage = shown.get(words, integer(row, 'rowid'));
        if (passage === undefined) continue;
        const chunk = text(passage, 'text');
        const snippet = text(passage, 'snippet');
        const before = chunk.slice(0, Math.max(0, chunk.indexOf(snippet)));
        best.push({
          path,
          line: integer(passage, 'line') + lineBreaks(before),
          offset: integer(passage, 'offset'),
          score: Math.round(-real(row, 'rank') * 1_000) / 1_000,
          snippet: snippet.slice(0, MAX_SNIPPET),
        });
      }
      return best;
    },

    close: () => db.close(),
  };
}

/** Old files are not UTF-8; then a byte is a character. The last character may be cut. */
function decode(bytes: Buffer): { text: string; encoding: 'utf8' | 'latin1' } {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  try {
    return { text: decoder.decode(bytes, { stream: true }), encoding: 'utf8' };
  } catch {
    return { text: bytes.toString('latin1'), encoding: 'latin1' };
  }
}

/** `readFile.ts` is found by `read` and `file` too. */
const wordsOfName = (name: string) => `${name} ${name.replace(/(\p{Ll})(?=\p{Lu})/gu, '$1 ')}`;

function lineBreaks(text: string): number {
  let count = 0;
  for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) count++;
  return count;
}
