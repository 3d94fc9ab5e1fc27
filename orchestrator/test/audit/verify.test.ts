/** Whatever is done to the audit log by SQL, the verifier finds it, and names the first row that is broken. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AUDIT_ACTIONS, appendAudit } from '../../src/audit/append.ts';
import { MAX_BROKEN, verifyAudit } from '../../src/audit/verify.ts';
import { type Db, openDb } from '../../src/registry/db.ts';
import { migrate } from '../../src/registry/migrate.ts';
import { appendRows } from '../support/audit.ts';
import { createDatabase } from '../support/database.ts';
import { addProduct, createRegistry } from '../support/registry.ts';

/** Rows of a chain in these tests. */
const ROWS = 7;

describe('an audit log that nobody touched', () => {
  it('verifies, whatever its rows hold', async () => {
    const db = await createRegistry();
    const text = fc.string({ unit: 'grapheme-composite' }).filter((value) => !value.includes('\0'));
    const json = fc
      .dictionary(text, fc.jsonValue())
      .filter((value) => !JSON.stringify(value).includes('\\u0000'));
    let rows = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          timestamp: fc.option(fc.date({ min: new Date(0), noInvalidDate: true }), { nil: undefined }),
          product_id: fc.constantFrom(null, randomUUID(), randomUUID()),
          user_id: fc.option(text),
          engine_id: fc.option(fc.uuid()),
          action: fc.constantFrom(...AUDIT_ACTIONS),
          actor: text,
          metadata: json,
          duration_ms: fc.option(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { nil: undefined }),
        }),
        async (entry) => {
          await appendAudit(db, entry);
          rows += 1;
        },
      ),
    );
    expect(await verifyAudit(db)).toEqual({ chains: 3, rows, broken: [] });
  });

  it('has one chain for each product, and one for the system', async () => {
    const db = await createRegistry();
    const [a, b] = [await addProduct(db), await addProduct(db)];
    await db.query('INSERT INTO audit_chains (product_id, seq, hash) VALUES ($1, 0, $2)', [
      b.id,
      Buffer.alloc(32),
    ]);
    await appendRows(db, null, 2);
    await appendRows(db, a.id, 3);
    await appendRows(db, null, 2);
    expect(await db.query('SELECT product_id, seq::int FROM audit_log ORDER BY id')).toEqual([
      ...[1, 2].map((seq) => ({ product_id: null, seq })),
      ...[1, 2, 3].map((seq) => ({ product_id: a.id, seq })),
      ...[3, 4].map((seq) => ({ product_id: null, seq })),
    ]);
    expect(await verifyAudit(db)).toEqual({ chains: 3, rows: 7, broken: [] });
    const heard: number[] = [];
    const only = await verifyAudit(db, { product_id: a.id, onProgress: (rows) => heard.push(rows) });
    expect([only, heard]).toEqual([{ chains: 1, rows: 3, broken: [] }, [3]]);
    expect(await verifyAudit(db, { product_id: randomUUID() })).toEqual({ chains: 0, rows: 0, broken: [] });
  });

  it('verifies while rows are added', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db);
    let busy = true;
    const writers = [1, 2, 3].map(async () => {
      while (busy) await appendRows(db, id, 1);
    });
    for (let n = 0; n < 20; n += 1) expect((await verifyAudit(db)).broken).toEqual([]);
    busy = false;
    await Promise.all(writers);
    const { rows } = await verifyAudit(db);
    expect(rows).toBeGreaterThan(20);
    const ids = await db.query<{ id: string }>('SELECT id FROM audit_log ORDER BY seq');
    expect(ids, 'ids are in the order of the chain').toEqual(
      await db.query('SELECT id FROM audit_log ORDER BY id'),
    );
  });

  it('has no gap where a transaction was rolled back', async () => {
    const db = await createRegistry();
    const { id } = await addProduct(db);
    await appendRows(db, id, 2);
    const failed = db.tx(async (sql) => {
      await appendRows(sql, id, 2);
      throw new Error('no');
    });
    await expect(failed).rejects.toThrow('no');
    await appendRows(db, id, 2);
    expect(await verifyAudit(db)).toEqual({ chains: 1, rows: 4, broken: [] });
  });
});

describe('an audit log that somebody changed', () => {
  let db: Db;
  let product: string;
  /** Ids of the rows of the product's chain, in order. */
  let ids: number[];

  beforeAll(async () => {
    db = openDb(await createDatabase(), () => {});
    await migrate(db);
    return () => db.end();
  });

  beforeEach(async () => {
    await db.query('TRUNCATE audit_log, audit_chains, products RESTART IDENTITY CASCADE');
    product = (await addProduct(db)).id;
    await appendRows(db, null, 2);
    await appendRows(db, product, ROWS);
    await appendRows(db, null, 2);
    const rows = await db.query<{ id: string }>(
      'SELECT id FROM audit_log WHERE product_id = $1 ORDER BY id',
      [product],
    );
    ids = rows.map(({ id }) => Number(id));
    expect((await verifyAudit(db)).broken).toEqual([]);
  });

  const id = (seq: number) => ids[seq - 1] ?? 0;
  const broken = async () => (await verifyAudit(db)).broken.map(({ why, ...rest }) => rest);

  describe.each([1, 4, ROWS])('row %i', (seq) => {
    it.each([
      ['seq', 'seq + 100'],
      ['timestamp', "timestamp + interval '1 microsecond'"],
      ['user_id', "'eve'"],
      ['user_id', 'NULL'],
      ['engine_id', 'gen_random_uuid()'],
      ['action', "'stop'"],
      ['actor', "'system'"],
      ['metadata', `'{"n": 0}'`],
      ['metadata', `metadata || '{"more": true}'`],
      ['duration_ms', '1'],
      ['prev_hash', "sha256('x')"],
      ['hash', "sha256('x')"],
    ])('with another %s: %s', async (column, value) => {
      await db.query(`UPDATE audit_log SET ${column} = ${value} WHERE id = $1`, [id(seq)]);
      expect(await broken()).toMatchObject([{ product_id: product, id: id(seq), fault: 'altered' }]);
    });

    it('with another id', async () => {
      await db.query('UPDATE audit_log SET id = id + 1000 WHERE id = $1', [id(seq)]);
      const moved = seq === ROWS ? id(seq) + 1000 : id(seq + 1);
      expect(await broken()).toMatchObject([
        { product_id: product, id: moved, fault: seq === ROWS ? 'altered' : 'reordered' },
      ]);
    });

    it('given to another product', async () => {
      const other = (await addProduct(db)).id;
      await appendRows(db, other, 1);
      await db.query('UPDATE audit_log SET product_id = $2 WHERE id = $1', [id(seq), other]);
      const found = await broken();
      expect(found.map(({ product_id }) => product_id).sort()).toEqual([product, other].sort());
      expect(found.find(({ product_id }) => product_id === product)).toMatchObject({
        seq,
        fault: seq === ROWS ? 'tail_cut_off' : 'deleted',
      });
    });

    it('deleted', async () => {
      await db.query('DELETE FROM audit_log WHERE id = $1', [id(seq)]);
      expect(await broken()).toEqual([
        seq === ROWS
          ? { product_id: product, seq, id: null, fault: 'tail_cut_off' }
          : { product_id: product, seq, id: id(seq + 1), fault: 'deleted' },
      ]);
    });

    it('altered, with a new hash to match', async () => {
      await db.query(
        `UPDATE audit_log SET actor = 'eve', hash = audit_hash(
           prev_hash, seq, id, timestamp, product_id, user_id, engine_id, action, 'eve', metadata, duration_ms)
          WHERE id = $1`,
        [id(seq)],
      );
      expect(await broken()).toEqual([
        { product_id: product, seq, id: id(seq), fault: seq === ROWS ? 'head_altered' : 'altered' },
      ]);
    });
  });

  it('several rows deleted: the first is named, and all are said', async () => {
    await db.query('DELETE FROM audit_log WHERE id = ANY ($1)', [[id(3), id(4), id(6)]]);
    const [found] = (await verifyAudit(db)).broken;
    expect(found).toMatchObject({ seq: 3, id: id(5), fault: 'deleted' });
    expect(found?.why).toBe(`Rows 3 to 4 are gone, before row ${id(5)}.`);
  });

  it('all rows deleted', async () => {
    await db.query('DELETE FROM audit_log WHERE product_id = $1', [product]);
    expect(await broken()).toEqual([{ product_id: product, seq: 1, id: null, fault: 'tail_cut_off' }]);
  });

  it('a row of the system deleted', async () => {
    await db.query('DELETE FROM audit_log WHERE product_id IS NULL AND seq = 2');
    expect(await broken()).toMatchObject([{ product_id: null, seq: 2, fault: 'deleted' }]);
  });

  it.each([
    ['ids', 'id'],
    ['numbers', 'seq'],
  ])('two rows that changed their %s', async (_, column) => {
    const [one, other] = column === 'id' ? [id(3), id(5)] : [3, 5];
    const renumber = (from: number, to: number) =>
      db.query(`UPDATE audit_log SET ${column} = $2 WHERE product_id = $3 AND ${column} = $1`, [
        from,
        to,
        product,
      ]);
    await renumber(one, -1);
    await renumber(other, one);
    await renumber(-1, other);
    expect(await broken()).toMatchObject([{ product_id: product, id: id(3), fault: 'reordered' }]);
  });

  it('what two rows say changed places', async () => {
    await db.query(
      `UPDATE audit_log SET user_id = other.user_id, metadata = other.metadata
         FROM audit_log other
        WHERE audit_log.id IN ($1, $2) AND other.id IN ($1, $2) AND other.id <> audit_log.id`,
      [id(3), id(5)],
    );
    expect(await broken()).toEqual([{ product_id: product, seq: 3, id: id(3), fault: 'altered' }]);
  });

  /** A copy of row `like` with these values. */
  const insertLike = (like: number, values: object) =>
    db.query(`INSERT INTO audit_log SELECT (jsonb_populate_record(a, $2)).* FROM audit_log a WHERE id = $1`, [
      like,
      JSON.stringify(values),
    ]);

  it.each([
    ['before the first', () => ({ id: -1, seq: 0 }), () => -1],
    ['in the middle, with a number that is taken', () => ({ id: 1000, seq: 4 }), () => 1000],
    ['before the one whose number it takes', () => ({ id: 0, seq: 1, actor: 'eve' }), () => 0],
    ['behind the last', () => ({ id: 1000, seq: ROWS + 1 }), () => 1000],
    ['behind the last, with a gap', () => ({ id: 1000, seq: ROWS + 9 }), () => 1000],
  ])('a row inserted %s', async (_, values, named) => {
    await insertLike(id(2), values());
    expect(await broken()).toMatchObject([{ product_id: product, id: named(), fault: 'inserted' }]);
  });

  it('a row inserted behind the last, chained as it should be', async () => {
    await db.query(
      `INSERT INTO audit_log
       SELECT 1000, timestamp, product_id, user_id, engine_id, action, 'eve', metadata, duration_ms, seq + 1, hash,
              audit_hash(hash, seq + 1, 1000, timestamp, product_id, user_id, engine_id, action, 'eve', metadata,
                         duration_ms)
         FROM audit_log WHERE id = $1`,
      [id(ROWS)],
    );
    expect(await broken()).toEqual([{ product_id: product, seq: ROWS + 1, id: 1000, fault: 'inserted' }]);
  });

  it('a row inserted without its chain is refused', async () => {
    await expect(db.query("INSERT INTO audit_log (action) VALUES ('stop')")).rejects.toThrow(/"seq"/);
  });

  it.each([
    ['deleted', 'DELETE FROM audit_chains WHERE product_id = $1', 'head_missing', 1],
    ['set back', 'UPDATE audit_chains SET seq = seq - 1 WHERE product_id = $1', 'inserted', ROWS],
    ['set on', 'UPDATE audit_chains SET seq = seq + 1 WHERE product_id = $1', 'tail_cut_off', ROWS + 1],
    ['altered', "UPDATE audit_chains SET hash = sha256('x') WHERE product_id = $1", 'head_altered', ROWS],
    ['begun later', 'UPDATE audit_chains SET first_seq = 2 WHERE product_id = $1', 'inserted', 1],
  ])('the head %s', async (_, change, fault, seq) => {
    await db.query(change, [product]);
    expect(await broken()).toMatchObject([{ product_id: product, seq, fault }]);
  });

  it('a whole chain deleted, with its head, while its product is there', async () => {
    await db.query('DELETE FROM audit_log WHERE product_id = $1', [product]);
    await db.query('DELETE FROM audit_chains WHERE product_id = $1', [product]);
    expect(await broken()).toEqual([{ product_id: product, seq: null, id: null, fault: 'head_missing' }]);
  });

  it('each broken chain is named once, and so many of them at most', async () => {
    await db.query(
      `INSERT INTO audit_chains (product_id, seq, hash)
       SELECT gen_random_uuid(), 5, sha256('x') FROM generate_series(1, $1)`,
      [MAX_BROKEN + 20],
    );
    const found = (await verifyAudit(db)).broken;
    expect(found).toHaveLength(MAX_BROKEN);
    expect(new Set(found.map(({ product_id }) => product_id)).size).toBe(MAX_BROKEN);
  });
});
