/**
 * Many engines at once, for those who watch a fleet: one product's, or, with `slice` null, all that have an owner.
 * What stands ready in the warm pool and what is a tombstone is nobody's engine, and is left out.
 *
 * A condition that is not asked for is left out of the statement, instead of being there with an "or null": so
 * PostgreSQL plans for what is asked, and finds the index for it.
 */
import type { Sql } from './db.ts';
import type { EngineRow, LiveEngine, LiveStatus, SleepDepth } from './engines.ts';

export type EngineFilter = {
  status?: LiveStatus;
  sleep_depth?: SleepDepth;
  health?: NonNullable<EngineRow['health']>;
  engine_version?: string;
  user_id_prefix?: string;
};

/** The condition, and the values of its parameters, from $1 on. */
function matching(slice: string | null, filter: EngineFilter = {}): { where: string; values: unknown[] } {
  const conditions = ['tombstone_until IS NULL'];
  const values: unknown[] = [];
  const require = (condition: (parameter: string) => string, value: unknown) => {
    if (value === undefined) return;
    values.push(value);
    conditions.push(condition(`$${values.length}`));
  };
  if (slice === null) conditions.push('product_id IS NOT NULL');
  else require((id) => `product_id = ${id}`, slice);
  require((status) => `status = ${status}`, filter.status);
  // Beside `running` the column says how deep the engine is about to sleep.
  require((depth) => `status = 'sleeping' AND sleep_depth = ${depth}`, filter.sleep_depth);
  require((health) => `health = ${health}`, filter.health);
  require((version) => `engine_version = ${version}`, filter.engine_version);
  require((prefix) => `starts_with(user_id, ${prefix})`, filter.user_id_prefix);
  return { where: conditions.join(' AND '), values };
}

/** A page of engines, product by product, oldest first, and how many there are in all pages; both at the same moment. */
export async function listEngines(
  sql: Sql,
  slice: string | null,
  filter: EngineFilter,
  page: { limit: number; offset: number },
): Promise<{ engines: LiveEngine[]; total: number }> {
  const { where, values } = matching(slice, filter);
  const [limit, offset] = [`$${values.length + 1}`, `$${values.length + 2}`];
  // A page past the end has no rows; the total is there all the same, beside nulls.
  const rows = await sql.query<{ total: number } & (LiveEngine | { id: null })>(
    `SELECT page.*, counted.total
       FROM (SELECT count(*)::int AS total FROM engines WHERE ${where}) AS counted
       LEFT JOIN (SELECT * FROM engines WHERE ${where}
                   ORDER BY product_id, created_at, id LIMIT ${limit} OFFSET ${offset}) AS page
         ON true
      ORDER BY page.product_id, page.created_at, page.id`,
    [...values, page.limit, page.offset],
  );
  return {
    engines: rows.filter((row) => row.id !== null),
    total: rows[0]?.total ?? 0,
  };
}

export async function countEngines(
  sql: Sql,
  slice: string | null,
): Promise<{ status: LiveStatus; count: number }[]> {
  const { where, values } = matching(slice);
  return await sql.query(
    `SELECT status, count(*)::int AS count FROM engines WHERE ${where} GROUP BY status`,
    values,
  );
}
