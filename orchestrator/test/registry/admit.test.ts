import { describe, expect, it } from 'vitest';
import { countAndLook, lookAgain } from '../../src/registry/admit.ts';
import type { Db } from '../../src/registry/db.ts';
import { ADMIT_GRAIN_S, admittedWithin } from '../../src/registry/sleep.ts';
import { addEngine, addProduct, createRegistry, runningEngine } from '../support/registry.ts';
import { until } from '../support/wait.ts';

async function keyOf(db: Db, product_id: string): Promise<string> {
  const [row] = await db.query<{ api_key_hash: string }>('SELECT api_key_hash FROM products WHERE id = $1', [
    product_id,
  ]);
  return row?.api_key_hash ?? '';
}

const firstLook = async (db: Db, api_key_hash: string, user_id: string) =>
  (await countAndLook(db, api_key_hash, [user_id]))?.[0] ?? null;

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
    expect(await firstLook(db, 'no such hash', 'ada')).toBeNull();
    expect(await firstLook(db, product.api_key_hash, 'ada')).toEqual({
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
    expect((await firstLook(db, product.api_key_hash, 'ada'))?.found).toMatchObject({
      engine: { id, user_id: 'ada', status: 'running', engine_key_enc: 'e' },
      operation: { kind: 'stop' },
    });
  });

  it('notes itself on a running engine, once in a while only', async () => {
    const db = await createRegistry();
    const engine = await runningEngine(db, 'ada');
    const key = await keyOf(db, engine.product_id);
    const admits = await Promise.all(Array.from({ length: 50 }, () => firstLook(db, key, 'ada')));
    expect(admits.some((admit) => admit?.found?.noted)).toBe(true);
    expect((await firstLook(db, key, 'ada'))?.found?.noted).toBe(true);
    expect(await admittedWithin(db, engine.id, 1)).toBe(true);
    await db.query("UPDATE engine_admits SET at = now() - interval '20 s'");
    expect(await admittedWithin(db, engine.id, 20)).toBe(true);
    expect(await admittedWithin(db, engine.id, 19 - ADMIT_GRAIN_S)).toBe(false);
  });

  it('is not noted on an engine that is not running, or about to sleep', async () => {
    const db = await createRegistry();
    const engine = await runningEngine(db, 'ada');
    const key = await keyOf(db, engine.product_id);
    for (const set of ["sleep_depth = 'doze'", "status = 'stopped', sleep_depth = NULL"]) {
      await db.query(`UPDATE engines SET ${set}`);
      expect((await firstLook(db, key, 'ada'))?.found).toMatchObject({ noted: false });
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
    expect((await firstLook(db, limited.api_key_hash, 'bob'))?.wait_s).toBe(0);
    expect((await firstLook(db, limited.api_key_hash, 'ada'))?.wait_s).toBeGreaterThan(50);
    expect((await firstLook(db, suspended.api_key_hash, 'ada'))?.found?.noted).toBe(false);
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
      expect((await firstLook(db, product.api_key_hash, 'ada'))?.found?.noted).toBe(false);
      expect((await firstLook(db, product.api_key_hash, 'bob'))?.found?.noted).toBe(true);
    });
    expect(await admittedWithin(db, bob.id, 1)).toBe(true);
    expect((await lookAgain(db, product.id, 'ada'))?.noted).toBe(true);
    const [row] = await db.query<{ n: number }>('SELECT count(*)::int AS n FROM admits');
    expect(row?.n, 'the second look does not count').toBe(2);
  });

  it('asked together with others, each is answered in its place and counts for itself', async () => {
    const db = await createRegistry();
    const product = await addProduct(db, { rate_limit_rpm: 3 });
    for (const user of ['ada', 'bob']) await runningEngine(db, user, product.id);
    // Not in the order of the alphabet: the limit grants in the order of the callers.
    const looks = await countAndLook(db, product.api_key_hash, ['dan', 'bob', 'bob', 'ada']);
    expect(looks?.map(({ found }) => found?.engine.user_id)).toEqual([undefined, 'bob', 'bob', 'ada']);
    expect(looks?.map(({ found }) => found?.noted)).toEqual([undefined, true, true, false]);
    expect(looks?.slice(0, 3).map(({ wait_s }) => wait_s)).toEqual([0, 0, 0]);
    expect([59, 60]).toContain(looks?.[3]?.wait_s);
  });

  it('never waits in a circle with another that notes the same engines', async () => {
    const db = await createRegistry();
    const product = await addProduct(db);
    const users = ['ada', 'bob', 'cyd', 'dan', 'eve', 'fay'];
    for (const user of users) await runningEngine(db, user, product.id);
    for (let n = 0; n < 20; n += 1) {
      await db.query("UPDATE engine_admits SET at = now() - interval '10 s'");
      const orders = [users, users.toReversed(), users, users.toReversed()];
      const looks = await Promise.all(orders.map((order) => countAndLook(db, product.api_key_hash, order)));
      expect(looks.flat()).toHaveLength(4 * users.length);
    }
  });

  it('is forgotten with its product', async () => {
    const db = await createRegistry();
    const product = await addProduct(db, { rate_limit_rpm: 10 });
    await addEngine(db, product.id, 'ada');
    await firstLook(db, product.api_key_hash, 'ada');
    await db.query('DELETE FROM products');
    expect(await db.query('SELECT * FROM admits')).toEqual([]);
  });
});
