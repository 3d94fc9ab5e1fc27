import type { Sql } from './db.ts';
import type { EngineRow } from './engines.ts';

/** A key as the registry keeps it: what the Engine checks against, and the key sealed. */
export type KeptKey = Pick<EngineRow, 'key_hash' | 'engine_key_enc'>;

/** Keeps the key that an engine is to be rotated to; where it has one already, that one stays. */
export async function keepNextKey(sql: Sql, id: string, key: KeptKey): Promise<void> {
  await sql.query(
    'UPDATE engines SET next_key_hash = $2, next_key_enc = $3 WHERE id = $1 AND next_key_hash IS NULL',
    [id, key.key_hash, key.engine_key_enc],
  );
}

/** Makes the next key the engine's key, if it is the one with this hash; whether it was. */
export async function swapKey(sql: Sql, id: string, key_hash: string): Promise<boolean> {
  const rows = await sql.query(
    `UPDATE engines SET key_hash = next_key_hash, engine_key_enc = next_key_enc,
                        next_key_hash = NULL, next_key_enc = NULL
      WHERE id = $1 AND next_key_hash = $2 RETURNING id`,
    [id, key_hash],
  );
  return rows.length > 0;
}
