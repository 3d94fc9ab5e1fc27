import { describe, expect, it } from 'vitest';
import { lookTogether } from '../../src/admission/looks.ts';
import type { Db, Sql } from '../../src/registry/db.ts';
import { addProduct, createRegistry, runningEngine } from '../support/registry.ts';

/** The registry, and of how many users each statement asked. */
function counted(db: Db): Sql & { asked: number[] } {
  const asked: number[] = [];
  return {
    asked,
    query: (text, values = []) => {
      asked.push([values[1]].flat().length);
      return db.query(text, values);
    },
  };
}

/** Holds up every look of the product that counts: its place in the rate limit is taken. */
const holdUp = (sql: Sql, product_id: string) =>
  sql.query('SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))', [product_id]);

describe('looks of admits', () => {
  it('that come while one is under way are asked together, and each is told its own', async () => {
    const db = await createRegistry();
    const product = await addProduct(db, { rate_limit_rpm: 1000 });
    const users = Array.from({ length: 150 }, (_, n) => `user-${n}`);
    for (const user of users.slice(0, 5)) await runningEngine(db, user, product.id);
    const sql = counted(db);
    const look = lookTogether(sql);
    const looks = await db.tx(async (holding) => {
      await holdUp(holding, product.id);
      return users.map((user) => look(product.api_key_hash, user));
    });
    const found = (await Promise.all(looks)).map((one) => one?.found?.engine.user_id);
    expect(found.slice(0, 6)).toEqual([...users.slice(0, 5), undefined]);
    // The first alone, the second as soon as eight wait; they end in either order, and each takes up to 64 of the rest.
    expect(sql.asked.slice(0, 2)).toEqual([1, 8]);
    expect(sql.asked.slice(2).sort((a, b) => b - a)).toEqual([64, 64, 13]);
    const [row] = await db.query<{ n: number }>('SELECT count(*)::int AS n FROM admits');
    expect(row?.n).toBe(150);
  });

  it('of a product do not wait for those of another', async () => {
    const db = await createRegistry();
    const [slow, quick] = [await addProduct(db, { rate_limit_rpm: 10 }), await addProduct(db)];
    const look = lookTogether(db);
    await db.tx(async (holding) => {
      await holdUp(holding, slow.id);
      void look(slow.api_key_hash, 'ada').catch(() => undefined);
      expect(await look(quick.api_key_hash, 'ada')).toMatchObject({ wait_s: 0 });
    });
  });

  it('that fail are told so, all of them; the next are asked anew', async () => {
    const db = await createRegistry();
    const product = await addProduct(db);
    let away = true;
    const look = lookTogether({
      query: (text, values) => (away ? Promise.reject(new Error('away')) : db.query(text, values)),
    });
    const looks = await Promise.allSettled(['ada', 'bob'].map((user) => look(product.api_key_hash, user)));
    expect(looks.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    away = false;
    expect(await look(product.api_key_hash, 'ada')).toMatchObject({ found: null });
    expect(await look('no such hash', 'ada')).toBeNull();
  });
});
