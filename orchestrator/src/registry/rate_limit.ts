import type { Sql } from './db.ts';

/**
 * Takes one admit out of the product's allowance: at most `rpm` in any 60 seconds, exact over replicas and
 * restarts, in one round trip (O17). Gives 0, or after how many whole seconds it will be granted; a refusal
 * does not count. The rule itself is the function `take_admit` of migration 0001.
 */
export async function takeAdmit(sql: Sql, product_id: string, rpm: number): Promise<number> {
  const [row] = await sql.query<{ wait_s: number }>('SELECT take_admit($1, $2) AS wait_s', [product_id, rpm]);
  return Math.ceil(row?.wait_s ?? 0);
}
