import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { claimDueEngines, lookAgain } from '../../src/registry/sleep.ts';
import { addProduct, createRegistry, runningEngine } from '../support/registry.ts';

describe('the scan for idle engines', () => {
  it('gives each due engine to one replica, and not again before its time', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db, { sleep_mode: 'label' });
    for (let n = 0; n < 30; n += 1) await runningEngine(db, `u${n}`, id);
    const claims = await Promise.all(Array.from({ length: 6 }, () => claimDueEngines(db, 10, 60)));
    const ids = claims.flat().map((engine) => engine.id);
    expect(new Set(ids).size).toBe(ids.length);
    const rest = await claimDueEngines(db, 100, 60);
    expect(ids.length + rest.length).toBe(30);
    expect(await claimDueEngines(db, 100, 60)).toEqual([]);
    const [first] = claims.flat();
    if (first === undefined) throw new Error('nothing was due');
    expect(first).toMatchObject({ status: 'running', sleep_mode: 'label', admit_age_s: null });
    await lookAgain(db, first.id, 0);
    expect(await claimDueEngines(db, 100, 60)).toMatchObject([{ id: first.id }]);
  });

  it('reads no more than what is due among 100,000 engines', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db);
    // In pieces: one statement for all of them may take longer than a statement may.
    for (let from = 0; from < 100_000; from += 10_000) {
      await db.query(
        `INSERT INTO engines (id, product_id, user_id, status, sleep_depth, engine_version, key_hash, engine_key_enc,
                              next_idle_check_at)
         SELECT gen_random_uuid(), $1, n::text, CASE WHEN n % 2 = 0 THEN 'running' ELSE 'sleeping' END,
                CASE WHEN n % 2 = 0 THEN NULL WHEN n % 4 = 1 THEN 'doze' ELSE 'hibernate' END, 'v', 'h', 'e',
                now() + make_interval(hours => n - 40)
           FROM generate_series($2::int + 1, $2::int + 10000) AS n`,
        [id, from],
      );
    }
    await db.query('ANALYZE engines');
    let plan = '';
    const explaining = {
      async query<Row>(text: string, values?: unknown[]) {
        const rows = await db.query<{ 'QUERY PLAN': string }>(`EXPLAIN ${text}`, values);
        plan = rows.map((row) => row['QUERY PLAN']).join('\n');
        return [] as Row[];
      },
    };
    await claimDueEngines(explaining, 50, 5);
    expect(plan).toContain('Index Scan using engines_due_idle_check');
    expect(plan).not.toContain('Seq Scan on engines');
    const due = await claimDueEngines(db, 50, 5);
    // Those of the first 40 that do not hibernate.
    expect(due).toHaveLength(30);
    expect(new Set(due.map(({ status }) => status))).toEqual(new Set(['running', 'sleeping']));
  }, 60_000);
});

it('no engine sleeps without a depth, none has one that is down', async () => {
  const db = await createRegistry();
  const engine = await runningEngine(db, randomUUID());
  for (const set of ["status = 'sleeping'", "status = 'stopped', sleep_depth = 'doze'"]) {
    await expect(db.query(`UPDATE engines SET ${set} WHERE id = $1`, [engine.id])).rejects.toThrow(
      'engines_sleep_depth',
    );
  }
});
