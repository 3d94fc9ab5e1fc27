import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { verifyAudit } from '../../src/audit/verify.ts';
import { openDb } from '../../src/registry/db.ts';
import { migrate } from '../../src/registry/migrate.ts';
import { createDatabase } from '../support/database.ts';
import { addProduct } from '../support/registry.ts';

const FOLDER = join(import.meta.dirname, '../../src/registry/migrations');

it('what was recorded before there were chains is chained by the migration', async () => {
  const db = openDb(await createDatabase(), () => {});
  onTestFinished(() => db.end());
  await db.query(
    'CREATE TABLE schema_migrations (version int, name text, applied_at timestamptz DEFAULT now())',
  );
  for (const name of (await readdir(FOLDER)).sort()) {
    if (name.endsWith('_audit_chain.sql')) break;
    await db.query(await readFile(join(FOLDER, name), 'utf8'));
    await db.query('INSERT INTO schema_migrations VALUES ($1, $2)', [Number(name.slice(0, 4)), name]);
  }
  const [used, unused] = [await addProduct(db), await addProduct(db)];
  const gone = randomUUID();
  for (const product_id of [used.id, null, gone, used.id, null, used.id]) {
    await db.query(
      `INSERT INTO audit_log (timestamp, product_id, action, metadata) VALUES ('2024-02-29 01:02:03.456789+01', $1, 'stop', '{"é": 1.50}')`,
      [product_id],
    );
  }
  await migrate(db);
  expect(await verifyAudit(db)).toEqual({ chains: 4, rows: 6, broken: [] });
  expect(
    await db.query('SELECT product_id, seq::int FROM audit_chains ORDER BY seq, product_id <> $1', [gone]),
  ).toEqual([
    { product_id: unused.id, seq: 0 },
    { product_id: gone, seq: 1 },
    { product_id: null, seq: 2 },
    { product_id: used.id, seq: 3 },
  ]);
});
