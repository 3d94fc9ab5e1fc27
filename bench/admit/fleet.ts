/**
 * The fleet of the benchmark: engines that are rows and nothing else, all running and well for long enough, so
 * that an admit has no reason to ask after one.
 */
import type { Db } from '../../orchestrator/src/registry/db.ts';

/** Rows one statement adds: it has to end within the time that a statement has. */
const PIECE = 20_000;

/** Each engine's id, its user and the path of both floors are made from its number. */
export const engineId = (n: number) => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
export const userId = (n: number) => `user-${n}`;

/** Adds engines number `from` to `to - 1` of the product, each with the same sealed key. */
export async function addEngines(
  db: Db,
  fleet: { product_id: string; engine_key_enc: string; from: number; to: number },
): Promise<void> {
  for (let from = fleet.from; from < fleet.to; from += PIECE) {
    await db.query(
      `INSERT INTO engines (id, product_id, user_id, status, url, engine_version, key_hash, engine_key_enc, epoch,
                            health, last_health_at, next_probe_at, next_idle_check_at)
       SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, $1, 'user-' || n, 'running',
              'http://127.0.0.1:' || 10000 + n % 50000, 'september-engine:2.3.0', repeat('0', 64), $2, 1,
              'ok', now() + interval '1 day', now() + interval '1 day', now() + interval '1 day'
         FROM generate_series($3::int, $4::int - 1) AS n`,
      [fleet.product_id, fleet.engine_key_enc, from, Math.min(from + PIECE, fleet.to)],
    );
  }
  // As it would be some minutes later by itself.
  await db.tx(async (sql) => {
    await sql.query('SET LOCAL statement_timeout = 0');
    await sql.query('ANALYZE engines');
  });
}
