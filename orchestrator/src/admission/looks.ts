/**
 * The first looks of admits, asked together where callers come together.
 *
 * A look is small and its statement is dear: the driver, the wire and PostgreSQL take several times longer to pass it
 * on than to answer it, and the rate limit puts the statements of a product in line. So while one is under way, those
 * of the same product that come meanwhile wait, and are asked in one statement as soon as it has ended. Nobody waits
 * for company: who comes alone is asked at once, and under load a statement carries more the longer the last one took.
 *
 * By product, so that no product waits for another.
 */
import { type AdmitLook, countAndLook } from '../registry/admit.ts';
import type { Sql } from '../registry/db.ts';

/** Looks in one statement: with more of them a caller would wait longer for the others than for his own. */
const MAX_TOGETHER = 64;

/**
 * So many waiting are worth a second statement beside the first: while PostgreSQL answers one, the answers of the other
 * go out. Fewer would be many small statements.
 */
const SECOND_FROM = 8;

/** See `countAndLook`; for one caller. */
export type Look = (api_key_hash: string, user_id: string) => Promise<AdmitLook | null>;

type Waiting = {
  user_id: string;
  resolve(look: AdmitLook | null): void;
  reject(error: unknown): void;
};

type Line = { waiting: Waiting[]; under_way: number };

export function lookTogether(sql: Sql): Look {
  /** By the hash of the product's key; an entry is there as long as a statement is under way. */
  const lines = new Map<string, Line>();

  async function ask(api_key_hash: string, together: Waiting[]): Promise<void> {
    try {
      const user_ids = together.map(({ user_id }) => user_id);
      const looks = await countAndLook(sql, api_key_hash, user_ids);
      for (const [n, { resolve }] of together.entries()) resolve(looks?.[n] ?? null);
    } catch (error) {
      for (const { reject } of together) reject(error);
    }
  }

  async function serve(api_key_hash: string, line: Line): Promise<void> {
    line.under_way += 1;
    while (line.waiting.length > 0) await ask(api_key_hash, line.waiting.splice(0, MAX_TOGETHER));
    line.under_way -= 1;
    if (line.under_way === 0) lines.delete(api_key_hash);
  }

  return (api_key_hash, user_id) =>
    new Promise((resolve, reject) => {
      const line = lines.get(api_key_hash) ?? { under_way: 0, waiting: [] };
      lines.set(api_key_hash, line);
      line.waiting.push({ user_id, resolve, reject });
      if (line.under_way === 0 || (line.under_way === 1 && line.waiting.length >= SECOND_FROM)) {
        void serve(api_key_hash, line);
      }
    });
}
