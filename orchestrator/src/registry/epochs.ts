/**
 * Epochs of engines against what their backend has seen.
 *
 * A database restored from a backup has lower epochs than the engines' folders, and the fence (backends/fence.ts)
 * refuses to boot them: from there it looks like an outdated orchestrator. Only a person can know that it is not;
 * then the registry's epochs are raised to what has been seen, so that the next start is a new one.
 */
import { appendAudit } from '../audit/append.ts';
import type { Db, Sql } from './db.ts';

/** Engines compared in one statement. */
const BATCH = 1000;

/** `seen`: the highest epoch its backend knows. */
export type OutdatedEpoch = { engine_id: string; epoch: number; seen: number };

/** Engines whose epoch is below what `seen`, by engine id, says. */
export async function outdatedEpochs(sql: Sql, seen: ReadonlyMap<string, number>): Promise<OutdatedEpoch[]> {
  const found: OutdatedEpoch[] = [];
  const all = [...seen];
  for (let begin = 0; begin < all.length; begin += BATCH) {
    const batch = all.slice(begin, begin + BATCH);
    found.push(
      ...(await sql.query<OutdatedEpoch>(
        `SELECT e.id AS engine_id, e.epoch, s.seen
           FROM unnest($1::uuid[], $2::int[]) AS s(id, seen) JOIN engines e ON e.id = s.id
          WHERE e.epoch < s.seen ORDER BY e.id`,
        [batch.map(([id]) => id), batch.map(([, epoch]) => epoch)],
      )),
    );
  }
  return found;
}

/** Raises them, each with its audit row in the same transaction; one that has moved on meanwhile is left alone. Gives those raised. */
export async function repairEpochs(db: Db, outdated: readonly OutdatedEpoch[]): Promise<OutdatedEpoch[]> {
  const repaired: OutdatedEpoch[] = [];
  for (const one of outdated) {
    await db.tx(async (sql) => {
      const [row] = await sql.query<{ product_id: string | null; user_id: string | null }>(
        'UPDATE engines SET epoch = $2 WHERE id = $1 AND epoch < $2 RETURNING product_id, user_id',
        [one.engine_id, one.seen],
      );
      if (row === undefined) return;
      await appendAudit(sql, {
        ...row,
        engine_id: one.engine_id,
        action: 'epoch_repaired',
        actor: 'admin',
        metadata: { from: one.epoch, to: one.seen },
      });
      repaired.push(one);
    });
  }
  return repaired;
}
