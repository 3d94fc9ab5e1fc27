import { randomUUID } from 'node:crypto';
import { onTestFinished } from 'vitest';
import { hashKey, newPlatformKey } from '../../src/keys/formats.ts';
import { type Db, openDb } from '../../src/registry/db.ts';
import { insertEngine } from '../../src/registry/engines.ts';
import { migrate } from '../../src/registry/migrate.ts';
import { insertProduct } from '../../src/registry/products.ts';
import { createDatabase } from './database.ts';

/** A migrated registry without anything else. */
export async function createRegistry(): Promise<Db> {
  const db = openDb(await createDatabase(), () => {});
  onTestFinished(() => db.end());
  await migrate(db);
  return db;
}

export async function addProduct(db: Db, policy = {}) {
  const slug = `p-${randomUUID().slice(0, 8)}`;
  return await insertProduct(db, {
    slug,
    display_name: slug,
    api_key_hash: hashKey(newPlatformKey()),
    policy,
  });
}

export const addEngine = (db: Db, product_id: string, user_id: string) =>
  insertEngine(db, {
    product_id,
    user_id,
    engine_version: 'v',
    version_pinned: false,
    key_hash: 'h',
    engine_key_enc: 'e',
  });

/** Of a product of its own where none is named. */
export async function runningEngine(db: Db, user_id: string, product_id?: string) {
  const id = product_id ?? (await addProduct(db)).id;
  const engine = await addEngine(db, id, user_id);
  if (typeof engine === 'string') throw new Error(engine);
  await db.query("UPDATE engines SET status = 'running' WHERE id = $1", [engine.id]);
  return { ...engine, product_id: id };
}
