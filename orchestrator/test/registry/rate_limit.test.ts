import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Db } from '../../src/registry/db.ts';
import { addProduct, createRegistry } from '../support/registry.ts';

/** How many are granted, and after how many whole seconds one more; the rule is `take_admits` of the migrations. */
async function takeAdmits(db: Db, product_id: string, rpm: number, wanted: number) {
  const [row] = await db.query<{ granted: number; wait_s: number }>('SELECT * FROM take_admits($1, $2, $3)', [
    product_id,
    rpm,
    wanted,
  ]);
  return { granted: row?.granted ?? Number.NaN, wait_s: Math.ceil(row?.wait_s ?? Number.NaN) };
}

/** 0, or after how many whole seconds one is granted. */
async function takeAdmit(db: Db, product_id: string, rpm: number): Promise<number> {
  const { granted, wait_s } = await takeAdmits(db, product_id, rpm, 1);
  return granted === 1 ? 0 : wait_s;
}

/** Lets time pass: everything that was moves into the past. */
const pass = (db: Db, seconds: number) =>
  db.query('UPDATE admits SET at = at - make_interval(secs => $1)', [seconds]);

describe('the rate limit (O17)', () => {
  it('grants exactly rpm, however many ask at once, and refuses with the true wait', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db);
    const waits = await Promise.all(Array.from({ length: 100 }, () => takeAdmit(db, id, 60)));
    expect(waits.filter((wait) => wait === 0)).toHaveLength(60);
    for (const wait of waits.filter((wait) => wait > 0)) expect([59, 60]).toContain(wait);
  });

  it('does not count what it refused', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db);
    expect(await takeAdmit(db, id, 1)).toBe(0);
    for (let n = 0; n < 5; n += 1) expect(await takeAdmit(db, id, 1)).toBeGreaterThan(0);
    await pass(db, 60);
    expect(await takeAdmit(db, id, 1)).toBe(0);
  });

  it('counts each product for itself', async () => {
    const db = await createRegistry();
    const [a, b] = [await addProduct(db), await addProduct(db)];
    expect([await takeAdmit(db, a.id, 1), await takeAdmit(db, b.id, 1)]).toEqual([0, 0]);
  });

  it('follows a limit that is changed on the way', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db);
    for (let n = 0; n < 4; n += 1) expect(await takeAdmit(db, id, 4)).toBe(0);
    expect(await takeAdmit(db, id, 2)).toBeGreaterThan(0);
    expect(await takeAdmit(db, id, 5)).toBe(0);
  });

  it('is exact in every window of any history, and keeps no more than the window', async () => {
    const db = await createRegistry();
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 4 })), {
          minLength: 1,
          maxLength: 25,
        }),
        async (rpm, gaps) => {
          const { id } = await addProduct(db);
          const granted: number[] = [];
          let now = 0;
          for (const [gap, wanted] of gaps) {
            now += gap;
            await pass(db, gap);
            // The oracle: how many were granted in the 60 s that end here.
            const inWindow = granted.filter((at) => at > now - 60);
            const taken = await takeAdmits(db, id, rpm, wanted);
            expect(taken.granted).toBe(Math.min(wanted, rpm - inWindow.length));
            for (let n = 0; n < taken.granted; n += 1) granted.push(now);
            if (taken.granted < wanted) expect(taken.wait_s).toBe((granted.at(-rpm) ?? 0) + 60 - now);
          }
          const [row] = await db.query<{ kept: number }>(
            'SELECT count(*)::int AS kept FROM admits WHERE product_id = $1',
            [id],
          );
          expect(row?.kept).toBeLessThanOrEqual(granted.length);
        },
      ),
      { numRuns: 20 },
    );
  });
});
