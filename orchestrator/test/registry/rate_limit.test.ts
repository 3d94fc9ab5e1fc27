import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Db } from '../../src/registry/db.ts';
import { addProduct, createRegistry } from '../support/registry.ts';

/** 0, or after how many whole seconds it is granted; the rule is the function `take_admit` of the migrations. */
async function takeAdmit(db: Db, product_id: string, rpm: number): Promise<number> {
  const [row] = await db.query<{ wait_s: number }>('SELECT take_admit($1, $2) AS wait_s', [product_id, rpm]);
  return Math.ceil(row?.wait_s ?? Number.NaN);
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
        fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 25 }),
        async (rpm, gaps) => {
          const { id } = await addProduct(db);
          const granted: number[] = [];
          let now = 0;
          for (const gap of gaps) {
            now += gap;
            await pass(db, gap);
            // The oracle: how many were granted in the 60 s that end here.
            const inWindow = granted.filter((at) => at > now - 60);
            const wait = await takeAdmit(db, id, rpm);
            expect(wait === 0).toBe(inWindow.length < rpm);
            if (wait === 0) granted.push(now);
            else expect(wait).toBe((inWindow.at(-rpm) ?? 0) + 60 - now);
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
