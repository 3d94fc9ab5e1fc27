import { describe, expect, it } from 'vitest';
import { deleteEngine, type EngineRow } from '../../src/registry/engines.ts';
import { listEngines } from '../../src/registry/fleet.ts';
import { addEngine, addProduct, createRegistry } from '../support/registry.ts';
import { until } from '../support/wait.ts';

describe('the quota (O18)', () => {
  it('gives exactly the cap, however many come at once', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db, { max_engines: 7 });
    // All of them begin while the product's row is held, so none can see what the others do.
    const { waiting, results } = await db.tx(async (sql) => {
      await sql.query('SELECT FROM products WHERE id = $1 FOR UPDATE', [id]);
      const results = Promise.all(Array.from({ length: 40 }, (_, n) => addEngine(db, id, `u${n}`)));
      const waiting = await until('many wait for the row', async () => {
        await sql.query('SELECT pg_stat_clear_snapshot()');
        const [row] = await sql.query<{ n: number }>(
          "SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
        );
        return row !== undefined && row.n > 7 && row.n;
      });
      return { waiting, results };
    });
    expect(waiting).toBeGreaterThan(7);
    expect((await results).filter((result) => result === 'at_quota')).toHaveLength(33);
    expect((await listEngines(db, id, {}, { limit: 100, offset: 0 })).total).toBe(7);
  });

  it('stays true while engines of the same users come and go', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db, { max_engines: 3 });
    const life = async (user: string) => {
      for (let round = 0; round < 15; round += 1) {
        const engine = await addEngine(db, id, user);
        if (typeof engine !== 'string') await deleteEngine(db, engine.id);
      }
    };
    // Four users, each by two callers: inserts, deletes and refusals of one user meet.
    await Promise.all(['a', 'a', 'b', 'b', 'c', 'c', 'd', 'd'].map(life));
    const [row] = await db.query<{ engine_count: number; real: number }>(
      'SELECT engine_count, (SELECT count(*)::int FROM engines) AS real FROM products',
    );
    expect(row).toEqual({ engine_count: 0, real: 0 });
  });

  it('does not count a user who has an engine twice', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db, { max_engines: 2 });
    await addEngine(db, id, 'a');
    expect(await addEngine(db, id, 'a')).toBe('exists');
    expect(await addEngine(db, id, 'b')).toMatchObject({ user_id: 'b' });
    expect(await addEngine(db, id, 'c')).toBe('at_quota');
  });

  it('frees a place exactly once, also when an engine is deleted twice', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db, { max_engines: 2 });
    const engine = (await addEngine(db, id, 'a')) as EngineRow;
    await addEngine(db, id, 'b');
    await Promise.all([deleteEngine(db, engine.id), deleteEngine(db, engine.id)]);
    const results = [await addEngine(db, id, 'c'), await addEngine(db, id, 'd')];
    expect(results).toEqual([expect.objectContaining({ user_id: 'c' }), 'at_quota']);
  });
});
