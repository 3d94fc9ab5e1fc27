/** With 100,000 engines the queries of the health loops read what is due, and nothing else. */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import { hashKey } from '../../src/keys/formats.ts';
import { countAndLook, lookAgain } from '../../src/registry/admit.ts';
import { type Db, openDb, type Sql } from '../../src/registry/db.ts';
import { engineOf } from '../../src/registry/engines.ts';
import { listEngines } from '../../src/registry/fleet.ts';
import {
  claimProbes,
  claimRestarts,
  noteProbe,
  noteStillWell,
  registered,
  runningEngines,
} from '../../src/registry/health.ts';
import { countTurnedIll, restartsWait } from '../../src/registry/incidents.ts';
import { countIll, fleetMetrics } from '../../src/registry/metrics.ts';
import { migrate } from '../../src/registry/migrate.ts';
import { insertProduct } from '../../src/registry/products.ts';
import { expiredTombstones, expireTombstones, tombstoneOf } from '../../src/registry/tombstones.ts';
import { pruneTransitions, transitionsAfter } from '../../src/registry/transitions.ts';
import { claimWarmEngine, countPool, findMisfits } from '../../src/registry/warm_pool.ts';
import { startChildOrchestrator } from '../support/child_orchestrator.ts';
import { createDatabase } from '../support/database.ts';
import { testEnvironment } from '../support/orchestrator.ts';

const KEY = 'pk-sept-of-a-large-fleet';
/** Ten times what is meant, for a machine that is busy with other tests, milliseconds. */
const BOUND_MS = 20_000;
/** What grows with the fleet, or with its history. */
const LARGE = ['engines', 'operations', 'audit_log', 'transitions'];
let url: string;
let product_id: string;

beforeAll(async () => {
  expect(inject('postgresUrl')).toMatch(/^postgres/);
  url = await createDatabase();
  const db = openDb(url, () => {});
  await migrate(db);
  const product = await insertProduct(db, {
    slug: 'large',
    display_name: 'Large',
    api_key_hash: hashKey(KEY),
    policy: {},
  });
  product_id = product.id;
  // In pieces: one statement for all of them may take longer than a statement may.
  for (let from = 0; from < 100_000; from += 2_000) {
    await db.query(
      `WITH added AS (
         INSERT INTO engines (id, product_id, user_id, status, engine_version, key_hash, engine_key_enc, epoch,
                              next_probe_at, restart_at, ill_since, tombstone_until, destroyed_at)
         SELECT gen_random_uuid(), $1, 'user-' || n,
                CASE n % 100 WHEN 0 THEN 'failed' WHEN 1 THEN 'destroyed' ELSE 'running' END,
                'v', 'h', 'e', 1, now() + make_interval(secs => n % 30),
                CASE WHEN n % 100 = 0 THEN now() + make_interval(secs => n % 300) END,
                CASE WHEN n % 100 = 0 THEN now() - make_interval(secs => n % 3000) END,
                CASE WHEN n % 100 = 1 THEN now() + make_interval(days => n % 3000 + 1) END,
                CASE WHEN n % 100 = 1 THEN now() END
           FROM generate_series($2::int + 1, $2::int + 2000) n
         RETURNING id, product_id, user_id)
       INSERT INTO operations (engine_id, product_id, user_id, kind, actor, step, epoch, deadline, outcome, ended_at)
       SELECT id, product_id, user_id, 'provision', 'large', 'await_health', 1, now(), 'succeeded', now() FROM added`,
      [product_id, from],
    );
  }
  await db.query(
    `INSERT INTO audit_log (timestamp, product_id, action, seq, prev_hash, hash)
     SELECT now() - make_interval(mins => 100000 - n), $1,
            CASE n % 100 WHEN 0 THEN 'provision' WHEN 1 THEN 'auto_restart_start' ELSE 'health_check' END, n, '', ''
       FROM generate_series(1, 100000) n`,
    [product_id],
  );
  await db.query('ANALYZE');
  await db.end();
}, 120_000);

type Node = { 'Node Type': string; 'Relation Name'?: string; 'Index Name'?: string; Plans?: Node[] };

/** Asks PostgreSQL how it would run what `work` runs; gives every node of the plans. */
async function planOf(db: Db, work: (sql: Sql) => Promise<unknown>): Promise<Node[]> {
  const nodes: Node[] = [];
  const flatten = (node: Node) => {
    nodes.push(node);
    node.Plans?.forEach(flatten);
  };
  const explain: Sql = {
    async query(text, values) {
      const [row] = await db.query<{ 'QUERY PLAN': { Plan: Node }[] }>(
        `EXPLAIN (FORMAT JSON) ${text}`,
        values,
      );
      for (const { Plan } of row?.['QUERY PLAN'] ?? []) flatten(Plan);
      return [];
    },
  };
  await work(explain);
  return nodes;
}

describe('with 100,000 engines', () => {
  const ids = Array.from({ length: 50 }, () => randomUUID());
  // A plan is no row.
  const figures = (sql: Sql) => fleetMetrics(sql, product_id).catch(() => undefined);
  it.each<[string, string, (sql: Sql) => Promise<unknown>]>([
    [
      'a list of the few that failed',
      'engines_by_state',
      (sql) => {
        return listEngines(sql, product_id, { status: 'failed' }, { limit: 100, offset: 0 });
      },
    ],
    [
      'a page of engines',
      'engines_by_age',
      (sql) => {
        return listEngines(sql, product_id, { status: 'failed' }, { limit: 100, offset: 0 });
      },
    ],
    ['the figures of the last hour', 'audit_log_of_fleet', figures],
    ['the count of crashes', 'transitions_failed', figures],
    ['the count of the ill', 'engines_ill', (sql) => countIll(sql)],
    [
      'what a stream of all has missed',
      'transitions_pkey',
      (sql) => {
        return transitionsAfter(sql, null, { after: 99_000, up_to: 100_000, limit: 200 });
      },
    ],
    [
      'what a stream of a small product has missed',
      'transitions_by_product',
      (sql) => {
        return transitionsAfter(sql, ids[0] ?? '', { after: 0, up_to: 100_000, limit: 200 });
      },
    ],
    ['the removal of old transitions', 'transitions_by_age', (sql) => pruneTransitions(sql, 86_400, 5_000)],
    ['the claim of probes', 'engines_due_probe', (sql) => claimProbes(sql, 50, 30)],
    ['the note on those still well', 'engines_pkey', (sql) => noteStillWell(sql, ids, 300)],
    [
      'the note on one probe',
      'engines_running',
      (sql) => noteProbe(sql, { id: ids[0] ?? '', epoch: 1 }, { health: 'ill', seen: 'nothing' }),
    ],
    ['the claim of restarts', 'engines_due_restart', (sql) => claimRestarts(sql, 8)],
    ['the look for restarts that wait', 'engines_due_restart', (sql) => restartsWait(sql, 5, 60)],
    ['the look of the breaker', 'engines_ill', (sql) => countTurnedIll(sql, 60)],
    ['a page of reconcile', 'engines_running', (sql) => runningEngines(sql, ids[0] ?? null, 500)],
    ['the look for expired tombstones', 'engines_due_purge', (sql) => expiredTombstones(sql, 8)],
    [
      'the look for what can be restored',
      'engines_tombstones',
      (sql) => tombstoneOf(sql, product_id, 'user-1'),
    ],
    ['an erasure', 'engines_tombstones', (sql) => expireTombstones(sql, product_id, 'user-1')],
    ['the look at one user', 'engines_user_unique', (sql) => engineOf(sql, product_id, 'user-2')],
    ['the look of an admit', 'engines_user_unique', (sql) => countAndLook(sql, hashKey(KEY), ['user-2'])],
    [
      'the look of several',
      'engines_user_unique',
      (sql) => countAndLook(sql, hashKey(KEY), ['user-2', 'user-3']),
    ],
    ['its next look', 'engines_user_unique', (sql) => lookAgain(sql, product_id, 'user-2')],
    ['the look at what stands', 'operations_by_engine', (sql) => registered(sql, ids)],
    [
      'the claim of a warm engine',
      'engines_pool',
      (sql) =>
        claimWarmEngine(sql, {
          product_id: ids[0] ?? '',
          user_id: 'ada',
          engine_version: 'v',
          version_pinned: false,
        }),
    ],
    ['the count of the pool', 'engines_pool', (sql) => countPool(sql, 'v')],
    [
      'the look for what has no place in it',
      'engines_pool',
      (sql) => findMisfits(sql, { size: 1, engine_version: 'v', patience_s: 300, limit: 4 }),
    ],
  ])('%s uses %s', async (_, index, work) => {
    const db = openDb(url, () => {});
    try {
      const nodes = await planOf(db, work);
      expect(nodes.map((node) => node['Index Name'])).toContain(index);
      const read = nodes
        .filter((node) => node['Node Type'] === 'Seq Scan')
        .map((node) => node['Relation Name']);
      expect(read.filter((table) => table !== undefined && LARGE.includes(table))).toEqual([]);
    } finally {
      await db.end();
    }
  });

  it('an orchestrator serves before it has looked at them all, and gives out none that is dead', async ({
    annotate,
  }) => {
    const env = await testEnvironment();
    onTestFinished(() => rm(env.ORCH_DATA_DIR, { recursive: true, force: true }));
    const began = performance.now();
    const { call } = await startChildOrchestrator({ ...env, ORCH_DATABASE_URL: url });
    expect((await call('GET', '/health')).status).toBe(200);
    const admit = (user: string, body?: object) => call('POST', `/engines/${user}/admit`, { key: KEY, body });
    const dead = await admit('user-99999');
    const served_ms = Math.round(performance.now() - began);
    expect(dead.body).toEqual({ admitted: false, engine: null, reason: 'engine_unhealthy' });
    expect((await admit('a-new-one', { auto_provision: true })).body.admitted).toBe(true);
    const status = await call('GET', '/status', { key: KEY });
    expect(status.body.by_status.running, 'its loops have only begun').toBeGreaterThan(50_000);
    await call('DELETE', '/engines/a-new-one', { key: KEY });
    expect(served_ms).toBeLessThan(BOUND_MS);
    await annotate(`health and an admit answered ${served_ms} ms after the start of the process`);
  });
});
