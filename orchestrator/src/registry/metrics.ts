/** The fleet in figures: for a product from its audit log, for the monitoring by state. */
import type { Sql } from './db.ts';
import type { OperationKind } from './operations.ts';

/** Boots that the mean boot time is taken of, of each product. */
const RECENT_BOOTS = 100;

export type FleetMetrics = {
  provisions_1h: number;
  crashes_1h: number;
  restarts_1h: number;
  /** Milliseconds, of the last boots of each product; null before the first. */
  avg_boot_ms: number | null;
  total_provisions: number;
  total_destroys: number;
};

/**
 * The figures of GET /metrics, of one product or, with `slice` null, the sums over all (bap-engine §13). Product by
 * product: each is a short way into an index, however long the log is.
 */
export async function fleetMetrics(sql: Sql, slice: string | null): Promise<FleetMetrics> {
  const [row] = await sql.query<FleetMetrics>(
    `SELECT coalesce(sum(provisioned.count), 0)::int AS provisions_1h,
            coalesce(sum(crashed.count), 0)::int AS crashes_1h,
            coalesce(sum(restarted.count), 0)::int AS restarts_1h,
            (sum(boots.ms) / nullif(sum(boots.count), 0))::int AS avg_boot_ms,
            coalesce(sum(totals.provisions), 0)::float8 AS total_provisions,
            coalesce(sum(totals.destroys), 0)::float8 AS total_destroys
       FROM products
       LEFT JOIN audit_totals totals ON totals.product_id = products.id
      CROSS JOIN LATERAL (
        SELECT count(*) FROM audit_log
         WHERE product_id = products.id AND action = 'provision' AND timestamp > now() - interval '1 hour'
      ) AS provisioned
      CROSS JOIN LATERAL (
        SELECT count(*) FROM audit_log
         WHERE product_id = products.id AND action = 'auto_restart_start'
           AND timestamp > now() - interval '1 hour'
      ) AS restarted
      CROSS JOIN LATERAL (
        SELECT count(*) FROM transitions
         WHERE product_id = products.id AND to_status = 'failed' AND at > now() - interval '1 hour'
      ) AS crashed
      CROSS JOIN LATERAL (
        SELECT count(took), sum(took) AS ms FROM (
          SELECT (metadata->>'boot_duration_ms')::int AS took FROM audit_log
           WHERE product_id = products.id AND action = 'provision'
           ORDER BY timestamp DESC LIMIT $1) AS recent
      ) AS boots
      ${slice === null ? '' : 'WHERE products.id = $2'}`,
    slice === null ? [RECENT_BOOTS] : [RECENT_BOOTS, slice],
  );
  if (row === undefined) throw new TypeError('SELECT gave no row');
  return row;
}

/** Engines in one state; `product` is the slug, null: the warm pool. */
export type StateCount = {
  product: string | null;
  status: string;
  sleep_depth: string | null;
  count: number;
};

/** Engines by product and state; without tombstones, with the warm pool. */
export async function countByState(sql: Sql): Promise<StateCount[]> {
  return await sql.query<StateCount>(
    `SELECT products.slug AS product, counted.status, counted.sleep_depth, counted.count
       FROM (SELECT product_id, status, CASE status WHEN 'sleeping' THEN sleep_depth END AS sleep_depth,
                    count(*)::int AS count
               FROM engines WHERE tombstone_until IS NULL GROUP BY 1, 2, 3) AS counted
       LEFT JOIN products ON products.id = counted.product_id
      ORDER BY 1, 2, 3`,
  );
}

/** Engines that are ill, or failed because of it. */
export async function countIll(sql: Sql): Promise<{ product: string | null; count: number }[]> {
  return await sql.query(
    `SELECT products.slug AS product, count(*)::int AS count
       FROM engines LEFT JOIN products ON products.id = engines.product_id
      WHERE ill_since IS NOT NULL AND tombstone_until IS NULL GROUP BY 1 ORDER BY 1`,
  );
}

/** Operations under way, and how many of them are past their deadline. */
export async function countUnfinished(
  sql: Sql,
): Promise<{ kind: OperationKind; count: number; overdue: number }[]> {
  return await sql.query(
    `SELECT kind, count(*)::int AS count, count(*) FILTER (WHERE deadline < now())::int AS overdue
       FROM operations WHERE outcome IS NULL GROUP BY kind ORDER BY kind`,
  );
}
