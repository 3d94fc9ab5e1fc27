import { describe, expect, it } from 'vitest';
import { countAndLook, lookAgain } from '../../src/registry/admit.ts';
import type { Db } from '../../src/registry/db.ts';
import { admittedWithin } from '../../src/registry/sleep.ts';
import { addEngine, addProduct, createRegistry, runningEngine } from '../support/registry.ts';
import { until } from '../support/wait.ts';

async function keyOf(db: Db, product_id: string): Promise<string> {
  const [row] = await db.query<{ api_key_hash: string }>('SELECT api_key_hash FROM products WHERE id = $1', [
    product_id,
  ]);
  return row?.api_key_hash ?? '';
}

const waitingForALock = async (db: Db) =>
  (
    await db.query(
      "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
    )
  ).length > 0;

describe('an admit', () => {
  it('finds its product by the key, its engine, and what is under way on it', async () => {
    const db = await createRegistry();
    const product = await addProduct(db, { max_engines: 5 });
    expect(await countAndLook(db, 'no such hash', 'ada')).toBeNull();
    expect(await countAndLook(db, product.api_key_hash, 'ada')).toEqual({
      product: expect.objectContaining({ id: product.id, slug: product.slug, policy: { max_engines: 5 } }),
      wait_s: 0,
      found: null,
    });
    const { id } = await runningEngine(db, 'ada', product.id);
    await db.query(
      `INSERT INTO operations (engine_id, product_id, user_id, kind, actor, step, epoch, deadline)
       VALUES ($1, $2, 'ada', 'stop', 'p', 'stop', 1, now())`,
      [id, product.id],
    );
    expect((await countAndLook(db, product.api_key_hash, 'ada'))?.found).toMatchObject({
      engine: { id, user_id: 'ada', status: 'running', engine_key_enc: 'e' },
      operation: { kind: 'stop' },
    });
  });

  it('notes itself on a running engine, once a second at most', async () => {
    const db = await createRegistry();
    const engine = await runningEngine(db, 'ada');
    const key = await keyOf(db, engine.product_id);
    const admits = await Promise.all(Array.from({ length: 50 }, () => countAndLook(db, key, 'ada')));
    expect(admits.some((admit) => admit?.found?.noted)).toBe(true);
    expect((await countAndLook(db, key, 'ada'))?.found?.noted).toBe(true);
    expect(await admittedWithin(db, engine.id, 1)).toBe(true);
    await db.query("UPDATE engine_admits SET at = now() - interval '10 s'");
    expect(await admittedWithin(db, engine.id, 10)).toBe(true);
    expect(await admittedWithin(db, engine.id, 8)).toBe(false);
  });

  it('is not noted on an engine that is not running, or about to sleep', async () => {
    const db = await createRegistry();
    const engine = await runningEngine(db, 'ada');
    const key = await keyOf(db, engine.product_id);
    for (const set of ["sleep_depth = 'doze'", "status = 'stopped', sleep_depth = NULL"]) {
      await db.query(`UPDATE engines SET ${set}`);
      expect((await countAndLook(db, key, 'ada'))?.found).toMatchObject({ noted: false });
      expect(await lookAgain(db, engine.product_id, 'ada')).toMatchObject({ noted: false });
    }
    expect(await admittedWithin(db, engine.id, 900)).toBe(false);
  });

  it('that is refused, by the limit or a suspension, keeps no engine awake', async () => {
    const db = await createRegistry();
    const limited = await addProduct(db, { rate_limit_rpm: 1 });
    const suspended = await addProduct(db, { suspended: true });
    const engines = [
      await runningEngine(db, 'ada', limited.id),
      await runningEngine(db, 'ada', suspended.id),
    ];
    expect((await countAndLook(db, limited.api_key_hash, 'bob'))?.wait_s).toBe(0);
    expect((await countAndLook(db, limited.api_key_hash, 'ada'))?.wait_s).toBeGreaterThan(50);
    expect((await countAndLook(db, suspended.api_key_hash, 'ada'))?.found?.noted).toBe(false);
    for (const { id } of engines) expect(await admittedWithin(db, id, 900)).toBe(false);
  });

  it('waits for a sleep that is just being written down, and is not noted then', async () => {
    const db = await createRegistry();
    const engine = await runningEngine(db, 'ada');
    let admit: ReturnType<typeof lookAgain> | undefined;
    await db.tx(async (sql) => {
      await sql.query('SELECT 1 FROM engines WHERE id = $1 FOR UPDATE', [engine.id]);
      admit = lookAgain(db, engine.product_id, 'ada');
      // The admit has read the row as it was before: running, awake.
      await until('the admit waits', () => waitingForALock(db));
      await sql.query("UPDATE engines SET sleep_depth = 'doze' WHERE id = $1", [engine.id]);
    });
    expect((await admit)?.noted).toBe(false);
    expect(await admittedWithin(db, engine.id, 900)).toBe(false);
  });

  it('of one user does not hold up the others of a product with a limit', async () => {
    const db = await createRegistry();
    const product = await addProduct(db, { rate_limit_rpm: 10 });
    const [ada, bob] = [
      await runningEngine(db, 'ada', product.id),
      await runningEngine(db, 'bob', product.id),
    ];
    await db.tx(async (sql) => {
      await sql.query('SELECT 1 FROM engines WHERE id = $1 FOR UPDATE', [ada.id]);
      expect((await countAndLook(db, product.api_key_hash, 'ada'))?.found?.noted).toBe(false);
      expect((await countAndLook(db, product.api_key_hash, 'bob'))?.found?.noted).toBe(true);
    });
    expect(await admittedWithin(db, bob.id, 1)).toBe(true);
    expect((await lookAgain(db, product.id, 'ada'))?.noted).toBe(true);
    const [row] = await db.query<{ n: number }>('SELECT count(*)::int AS n FROM admits');
    expect(row?.n, 'the second look does not count').toBe(2);
  });

  it('is forgotten with its product', async () => {
    const db = await createRegistry();
    const product = await addProduct(db, { rate_limit_rpm: 10 });
    await addEngine(db, product.id, 'ada');
    await countAndLook(db, product.api_key_hash, 'ada');
    await db.query('DELETE FROM products');
    expect(await db.query('SELECT * FROM admits')).toEqual([]);
  });
});
