/** With 100,000 rows in the audit log a page reads by an index, never the table. */
import { beforeAll, expect, it } from 'vitest';
import { type AuditFilter, listAudit } from '../../src/audit/query.ts';
import { type Db, openDb, type Sql } from '../../src/registry/db.ts';
import { migrate } from '../../src/registry/migrate.ts';
import { createDatabase } from '../support/database.ts';

const PRODUCT = '00000000-0000-4000-8000-000000000003';
const ENGINE = '00000000-0000-4000-8000-000000000017';
let db: Db;

beforeAll(async () => {
  db = openDb(await createDatabase(), () => {});
  await migrate(db);
  // A hundred products with ten users each; one action and one actor are rare. The hashes are not looked at.
  // In pieces: one statement for all of them may take longer than a statement may.
  for (let from = 0; from < 100_000; from += 10_000) {
    await db.query(
      `INSERT INTO audit_log (timestamp, product_id, user_id, engine_id, action, actor, seq, prev_hash, hash)
     SELECT now() - make_interval(mins => 100000 - n),
            ('00000000-0000-4000-8000-0000000000' || lpad((n % 100)::text, 2, '0'))::uuid, 'user-' || n % 1000,
            ('00000000-0000-4000-8000-00000000' || lpad((n % 1000)::text, 4, '0'))::uuid,
            CASE WHEN n % 10000 = 3 THEN 'policy_update' WHEN n % 2 = 0 THEN 'stop' ELSE 'health_check' END,
            CASE WHEN n % 10000 = 3 THEN 'admin' ELSE 'system' END, n, '', ''
       FROM generate_series($1::int + 1, $1::int + 10000) n`,
      [from],
    );
  }
  await db.query('ANALYZE audit_log');
  return () => db.end();
}, 120_000);

type Node = {
  'Node Type': string;
  'Index Name'?: string;
  'Actual Rows': number;
  'Rows Removed by Filter'?: number;
  Plans?: Node[];
};

/** Runs what `work` runs; gives the indexes it went by, and the most rows that any step of it looked at. */
async function planOf(work: (db: Db) => Promise<unknown>) {
  const nodes: Node[] = [];
  const flatten = (node: Node) => {
    nodes.push(node);
    node.Plans?.forEach(flatten);
  };
  const explain: Sql = {
    async query(text, values) {
      if (values === undefined) return [];
      const [row] = await db.query<{ 'QUERY PLAN': { Plan: Node }[] }>(
        `EXPLAIN (ANALYZE, FORMAT JSON) ${text}`,
        values,
      );
      for (const { Plan } of row?.['QUERY PLAN'] ?? []) flatten(Plan);
      return [];
    },
  };
  await work({ ...db, tx: (inside) => inside(explain) });
  return {
    indexes: nodes.map((node) => node['Index Name']),
    kinds: nodes.map((node) => node['Node Type']),
    rows: Math.max(...nodes.map((node) => node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0))),
  };
}

const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000);

it.each<[string, string, string | null, AuditFilter]>([
  ['all', 'audit_log_pkey', null, {}],
  ["a product's", 'audit_log_by_product', PRODUCT, {}],
  ["a user's", 'audit_log_by_user', PRODUCT, { user_id: 'user-3' }],
  ["an engine's", 'audit_log_by_engine', PRODUCT, { engine_id: ENGINE }],
  ["a product's rare action", 'idx_audit_log_action', PRODUCT, { action: 'policy_update' }],
  ["a product's rare actor", 'audit_log_by_actor', PRODUCT, { actor: 'admin' }],
  ['an hour long ago', 'idx_audit_log_timestamp', null, { from: ago(90_000), to: ago(89_940) }],
  ["a product's hour long ago", 'idx_audit_log_timestamp', PRODUCT, { from: ago(90_000), to: ago(89_940) }],
])('%s: by %s', async (_, index, slice, filter) => {
  for (const order of ['asc', 'desc'] as const) {
    for (const after of [null, 50_000]) {
      const plan = await planOf((explained) =>
        listAudit(explained, slice, filter, { order, after, limit: 101 }),
      );
      expect(plan.kinds).not.toContain('Seq Scan');
      expect(plan.indexes, order).toContain(index);
      // A page, or what a narrow condition leaves.
      expect(plan.rows).toBeLessThanOrEqual(1_000);
    }
  }
});

it.each<[string, string | null, AuditFilter]>([
  ['a user over all products', null, { user_id: 'user-3' }],
  ['a frequent action', null, { action: 'stop' }],
  ['a frequent actor of a product', PRODUCT, { actor: 'system' }],
  ['a rare action over all products', null, { action: 'policy_update' }],
  ['a month', PRODUCT, { from: ago(43_200) }],
  [
    'everything at once',
    PRODUCT,
    { user_id: 'user-3', engine_id: ENGINE, action: 'stop', actor: 'system', from: ago(90_000), to: ago(1) },
  ],
])('%s: by some index', async (_, slice, filter) => {
  const plan = await planOf((sql) =>
    listAudit(sql, slice, filter, { order: 'desc', after: null, limit: 101 }),
  );
  expect(plan.kinds).not.toContain('Seq Scan');
  expect(plan.rows).toBeLessThanOrEqual(1_000);
});
