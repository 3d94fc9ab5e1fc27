/**
 * The text of documents that are too large for a conversation: in pieces, found by their id or by their words. They
 * belong to their task and go with it; and with the message that brought them, when an edit goes back behind it.
 * Source: engine-runtime, "Platform tools", "Brain"; operations, "Flags".
 */
import type { DatabaseSync } from 'node:sqlite';
import type { IngestedDocument } from '../types.ts';
import { anyWordOf } from './full_text.ts';
import { integer, type Row, text } from './sqlite.ts';

/** A piece as the model gets it: part `part` of `parts`. */
export type Chunk = { chunk_id: string; document: string; part: number; parts: number; text: string };

export type Ingestion = ReturnType<typeof openIngestion>;

export function openIngestion(db: DatabaseSync) {
  const insert = db.prepare(`
    INSERT INTO ingestion_chunks (task_id, document_id, name, ordinal, parts, position, text)
    VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (task_id, document_id, ordinal) DO NOTHING`);
  const one = db.prepare(
    'SELECT * FROM ingestion_chunks WHERE task_id = ? AND document_id = ? AND ordinal = ?',
  );
  const found = db.prepare(`
    SELECT c.* FROM ingestion_chunks_fts f JOIN ingestion_chunks c ON c.id = f.rowid
     WHERE ingestion_chunks_fts MATCH ? AND c.task_id = ? ORDER BY f.rank LIMIT ?`);
  const forget = db.prepare('DELETE FROM ingestion_chunks WHERE task_id = ? AND position >= ?');

  return {
    /** `position`: of the newest message of the task. */
    insert(task_id: string, position: number, documents: IngestedDocument[]): void {
      for (const { document_id, name, chunks } of documents) {
        for (const [index, chunk] of chunks.entries()) {
          insert.run(task_id, document_id, name, index + 1, chunks.length, position, chunk);
        }
      }
    },

    /** The piece with this id, if the task has it. */
    read(task_id: string, chunk_id: string): Chunk[] {
      const [, document_id, ordinal] = /^(.+)\/(\d{1,6})$/.exec(chunk_id) ?? [];
      if (document_id === undefined) return [];
      return one.all(task_id, document_id, Number(ordinal)).map(toChunk);
    },

    /** The pieces of the task that say most of what is asked for, the best first. */
    search(task_id: string, query: string, limit: number): Chunk[] {
      const words = anyWordOf(query);
      return words === undefined ? [] : found.all(words, task_id, limit).map(toChunk);
    },

    /** The messages from this position on are no longer part of the task: nor is what came with them. */
    forget(task_id: string, from_position: number): void {
      forget.run(task_id, from_position);
    },
  };
}

function toChunk(row: Row): Chunk {
  const part = integer(row, 'ordinal');
  return {
    chunk_id: `${text(row, 'document_id')}/${part}`,
    document: text(row, 'name'),
    part,
    parts: integer(row, 'parts'),
    text: text(row, 'text'),
  };
}
