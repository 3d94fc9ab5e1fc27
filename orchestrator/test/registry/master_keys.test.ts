/** The rotation of the master key, over enough rows for several batches (O27). */
import { describe, expect, it } from 'vitest';
import { type MasterKeys, parseMasterKeys } from '../../src/keys/master.ts';
import type { Db } from '../../src/registry/db.ts';
import { MissingMasterKey, rotateMasterKeys } from '../../src/registry/master_keys.ts';
import { addProduct, createRegistry } from '../support/registry.ts';

const [A, B, C] = [1, 2, 3].map((n) => Buffer.alloc(32, n).toString('base64url'));
const ENGINES = 1_201;

function masterKeys(...list: (string | undefined)[]): MasterKeys {
  const keys = parseMasterKeys(list.join(','));
  if (keys === null) throw new Error('not master keys');
  return keys;
}

/** Engines and kept answers, sealed with A; each tenth engine is being rotated. */
async function sealedRegistry() {
  const db = await createRegistry();
  const { id } = await addProduct(db);
  const old = masterKeys(A);
  const numbers = Array.from({ length: ENGINES }, (_, n) => n);
  await db.query(
    `INSERT INTO engines (id, product_id, user_id, status, engine_version, key_hash, engine_key_enc,
                          next_key_hash, next_key_enc)
     SELECT gen_random_uuid(), $1, 'u' || n, 'stopped', 'v', 'h', sealed, CASE WHEN next IS NOT NULL THEN 'n' END, next
       FROM unnest($2::int[], $3::text[], $4::text[]) AS _ (n, sealed, next)`,
    [
      id,
      numbers,
      numbers.map((n) => old.seal(`key ${n}`)),
      numbers.map((n) => (n % 10 === 0 ? old.seal(`next ${n}`) : null)),
    ],
  );
  await db.query(
    `INSERT INTO idempotency_keys (scope, key, request_hash, answer_enc)
     SELECT 'admin', 'k' || n, 'h', sealed FROM unnest($1::int[], $2::text[]) AS _ (n, sealed)
     UNION ALL SELECT 'admin', 'an operation', 'h', NULL`,
    [numbers.slice(0, 3), numbers.slice(0, 3).map((n) => old.seal(`answer ${n}`))],
  );
  return db;
}

const engines = (db: Db) =>
  db.query<{ id: string; user_id: string; engine_key_enc: string; next_key_enc: string | null }>(
    'SELECT id, user_id, engine_key_enc, next_key_enc FROM engines ORDER BY id',
  );
const answers = (db: Db) =>
  db.query<{ key: string; answer_enc: string }>(
    'SELECT key, answer_enc FROM idempotency_keys WHERE answer_enc IS NOT NULL ORDER BY key',
  );

async function expectAllOpenBy(db: Db, keys: MasterKeys) {
  for (const { user_id, engine_key_enc, next_key_enc } of await engines(db)) {
    expect(keys.open(engine_key_enc)).toBe(user_id.replace('u', 'key '));
    if (next_key_enc !== null) expect(keys.open(next_key_enc)).toBe(user_id.replace('u', 'next '));
  }
  for (const { key, answer_enc } of await answers(db)) {
    expect(keys.open(answer_enc)).toBe(key.replace('k', 'answer '));
  }
}

describe('the rotation of the master key', () => {
  it('seals everything anew with the first key, and finds nothing to do the second time', async () => {
    const db = await sealedRegistry();
    const seen: [number, number][] = [];
    const onProgress = (done: number, total: number) => void seen.push([done, total]);
    const both = masterKeys(B, A);
    expect(await rotateMasterKeys(db, both, { onProgress })).toEqual({ engines: ENGINES, answers: 3 });
    await expectAllOpenBy(db, masterKeys(B));
    const total = ENGINES + 3;
    expect(seen).toEqual([
      [500, total],
      [1000, total],
      [1201, total],
      [total, total],
    ]);
    expect(await rotateMasterKeys(db, both)).toEqual({ engines: 0, answers: 0 });
  });

  it('goes on where it was interrupted', async () => {
    const db = await sealedRegistry();
    const both = masterKeys(B, A);
    const interrupted = rotateMasterKeys(db, both, {
      onProgress: () => {
        throw new Error('interrupted');
      },
    });
    await expect(interrupted).rejects.toThrow('interrupted');
    // In between both keys are needed, and enough.
    await expectAllOpenBy(db, both);
    expect(await rotateMasterKeys(db, both)).toEqual({ engines: ENGINES - 500, answers: 3 });
    await expectAllOpenBy(db, masterKeys(B));
  });

  it('changes nothing where a key is missing, and says which engines cannot be opened', async () => {
    const db = await sealedRegistry();
    const before = [await engines(db), await answers(db)];
    const missing = await rotateMasterKeys(db, masterKeys(B, C)).catch((error) => error);
    expect(missing).toBeInstanceOf(MissingMasterKey);
    expect(missing).toMatchObject({ engines: ENGINES, answers: 3 });
    expect(missing.engine_ids).toEqual((await engines(db)).slice(0, 100).map(({ id }: { id: string }) => id));
    expect([await engines(db), await answers(db)]).toEqual(before);

    // One that is sealed with a third key is enough.
    const { id } = (await engines(db))[700] ?? { id: '' };
    await db.query('UPDATE engines SET engine_key_enc = $2 WHERE id = $1', [id, masterKeys(C).seal('x')]);
    const one = await rotateMasterKeys(db, masterKeys(B, A)).catch((error) => error);
    expect(one.message).toBe(
      `No key of ORCH_MASTER_KEY opens 1 engine(s) and 0 kept answer(s); nothing was changed. Engines: ${id}.`,
    );
    expect((await engines(db)).filter(({ engine_key_enc }) => isSealedBy(B, engine_key_enc))).toEqual([]);
  });

  it('takes nothing back that an orchestrator writes meanwhile', async () => {
    const db = await sealedRegistry();
    const both = masterKeys(B, A);
    const [engine] = await engines(db);
    const locked = Promise.withResolvers<void>();
    const writing = db.tx(async (sql) => {
      await sql.query('SELECT 1 FROM engines WHERE id = $1 FOR UPDATE', [engine?.id]);
      locked.resolve();
      await waiting(db);
      await sql.query('UPDATE engines SET engine_key_enc = $2 WHERE id = $1', [engine?.id, both.seal('new')]);
    });
    await locked.promise;
    await Promise.all([writing, rotateMasterKeys(db, both)]);
    const after = (await engines(db)).find(({ id }) => id === engine?.id);
    expect(masterKeys(B).open(after?.engine_key_enc ?? '')).toBe('new');
  });
});

/** Until somebody waits for a row. */
async function waiting(db: Db): Promise<void> {
  for (;;) {
    const rows = await db.query(
      "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    if (rows.length > 0) return;
  }
}

function isSealedBy(key: string | undefined, sealed: string): boolean {
  try {
    masterKeys(key).open(sealed);
    return true;
  } catch {
    return false;
  }
}
