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

/** See `countAndLook`; for one caller. */
export type Look = (api_key_hash: string, user_id: string) => Promise<AdmitLook | null>;

type Waiting = {
  user_id: string;
  resolve(look: AdmitLook | null): void;
  reject(error: unknown): void;
};

export function lookTogether(sql: Sql): Look {
  /** By the hash of the product's key; an entry is there as long as a statement is under way. */
  const lines = new Map<string, Waiting[]>();

  async function ask(api_key_hash: string, together: Waiting[]): Promise<void> {
    try {
      const user_ids = together.map(({ user_id }) => user_id);
      const looks = await countAndLook(sql, api_key_hash, user_ids);
      for (const [n, { resolve }] of together.entries()) resolve(looks?.[n] ?? null);
    } catch (error) {
      for (const { reject } of together) reject(error);
    }
  }

  async function serve(api_key_hash: string, line: Waiting[]): Promise<void> {
    while (line.length > 0) await ask(api_key_hash, line.splice(0, MAX_TOGETHER));
    lines.delete(api_key_hash);
  }

  return (api_key_hash, user_id) =>
    new Promise((resolve, reject) => {
      const line = lines.get(api_key_hash);
      if (line !== undefined) return void line.push({ user_id, resolve, reject });
      const first = [{ user_id, resolve, reject }];
      lines.set(api_key_hash, first);
      void serve(api_key_hash, first);
    });
}
