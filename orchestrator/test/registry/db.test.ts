import { describe, expect, inject, it, onTestFinished } from 'vitest';
import { openDb, violates } from '../../src/registry/db.ts';
import { until } from '../support/wait.ts';
import { wireTo } from '../support/wire.ts';

describe('the database', () => {
  it('that cannot be reached is NOT_READY, idle and in the middle of a statement, and then it is back', async () => {
    const { url, cut, mend } = await wireTo(inject('postgresUrl'));
    const broken: Error[] = [];
    const db = openDb(url, (error) => broken.push(error));
    onTestFinished(() => db.end());
    await db.query('SELECT 1');

    const sleeping = db.query('SELECT pg_sleep(60)');
    const inTransaction = db.tx(async (sql) => {
      await sql.query('SELECT 1');
      await sql.query('SELECT pg_sleep(60)');
    });
    const lost = Promise.allSettled([sleeping, inTransaction]);
    await until('both sleep', async () => {
      const [row] = await db.query<{ n: number }>(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'",
      );
      return row?.n === 2;
    });
    await cut();
    for (const result of await lost) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'NOT_READY', retry_after_s: 2 } });
    }
    await expect(db.query('SELECT 1')).rejects.toMatchObject({ code: 'NOT_READY' });
    await expect(db.tx(async () => {})).rejects.toMatchObject({ code: 'NOT_READY' });

    await mend();
    expect(await db.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(broken.length).toBeGreaterThan(0);
  });

  it('that is shutting down is NOT_READY, a mistake in a statement is not', async () => {
    const db = openDb(inject('postgresUrl'), () => {});
    onTestFinished(() => db.end());
    await expect(db.query('SELECT pg_terminate_backend(pg_backend_pid())')).rejects.toMatchObject({
      code: 'NOT_READY',
    });
    await expect(db.query('SELECT nonsense')).rejects.toMatchObject({ code: '42703' });
  });

  it('rolls a transaction back when its work throws, and keeps the connection', async () => {
    const db = openDb(inject('postgresUrl'), () => {});
    onTestFinished(() => db.end());
    await db.query('CREATE TABLE rolled_back (n int CONSTRAINT positive CHECK (n > 0))');
    onTestFinished(async () => void (await db.query('DROP TABLE rolled_back')));
    const error = await db
      .tx(async (sql) => {
        await sql.query('INSERT INTO rolled_back VALUES (1)');
        await sql.query('INSERT INTO rolled_back VALUES (-1)');
      })
      .catch((caught: unknown) => caught);
    expect(violates(error, 'positive')).toBe(true);
    expect(await db.query('SELECT * FROM rolled_back')).toEqual([]);
  });

  it('that another replica migrates is asked again on a new connection, and in a transaction is NOT_READY', async () => {
    const db = openDb(inject('postgresUrl'), () => {});
    onTestFinished(() => db.end());
    await db.query('CREATE TABLE widened (a int)');
    onTestFinished(async () => void (await db.query('DROP TABLE widened')));
    await db.query('INSERT INTO widened VALUES (1)');
    const read = 'SELECT * FROM widened WHERE a = $1';
    const plans = () => Promise.all(Array.from({ length: 8 }, () => db.query(read, [1])));
    await plans();
    await db.query('ALTER TABLE widened ADD COLUMN b int DEFAULT 2');
    expect(await plans()).toEqual(Array(8).fill([{ a: 1, b: 2 }]));

    await db.tx(async (sql) => expect(await sql.query(read, [1])).toHaveLength(1));
    await db.query('ALTER TABLE widened ADD COLUMN c int DEFAULT 3');
    const inTransaction = () => db.tx((sql) => sql.query(read, [1]));
    await until('the outdated connections are gone', () =>
      inTransaction().catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'NOT_READY' });
        return null;
      }),
    );
    expect(await inTransaction()).toEqual([{ a: 1, b: 2, c: 3 }]);
  });
});
