import { randomUUID } from 'node:crypto';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Db, openDb } from '../../src/registry/db.ts';
import type { EngineRow } from '../../src/registry/engines.ts';
import { migrate } from '../../src/registry/migrate.ts';
import {
  claimOperations,
  endOperation,
  insertOperation,
  noteStep,
  type OperationKind,
  type OperationRow,
  renewLeases,
} from '../../src/registry/operations.ts';
import { joinReplicas, type Replica } from '../../src/registry/replica.ts';
import { createDatabase } from '../support/database.ts';
import { addEngine, addProduct } from '../support/registry.ts';
import { until } from '../support/wait.ts';

const BOOTS: OperationKind[] = ['provision', 'start'];

async function registry() {
  const url = await createDatabase();
  const db = openDb(url, () => {});
  onTestFinished(() => db.end());
  await migrate(db);
  const replicas: Replica[] = [];
  onTestFinished(async () => void (await Promise.all(replicas.map((replica) => replica.close()))));
  return {
    db,
    product: await addProduct(db),
    async join() {
      const replica = await joinReplicas(db, url, () => {});
      replicas.push(replica);
      return replica;
    },
  };
}

async function addOperation(db: Db, product_id: string, kind: OperationKind, deadline_s = 60) {
  const engine = (await addEngine(db, product_id, randomUUID())) as EngineRow;
  const { user_id } = engine;
  return await insertOperation(db, {
    engine_id: engine.id,
    product_id,
    user_id,
    kind,
    actor: 'test',
    step: 'create',
    epoch: engine.epoch,
    deadline_s,
    quiet_s: null,
    retain_s: null,
    warm: false,
    image: null,
  });
}

const claim = (db: Db, owner: number, more: object = {}) =>
  claimOperations(db, { owner, lease_s: 30, last_chance_s: 15, takes_epoch: BOOTS, limit: 100, ...more });
const rowOf = async (db: Db, id: string) =>
  (await db.query<OperationRow>('SELECT * FROM operations WHERE id = $1', [id]))[0];
const none = { evidence: {}, error: null };

describe('a claim', () => {
  it('gives each operation to one replica, however many ask at once', async () => {
    const { db, product, join } = await registry();
    const replicas = await Promise.all([join(), join(), join()]);
    expect(new Set(replicas.map(({ id }) => id)).size).toBe(3);
    const ids = await Promise.all(
      Array.from({ length: 30 }, async () => (await addOperation(db, product.id, 'stop')).id),
    );
    const claims = await Promise.all(
      replicas.flatMap(({ id }) => Array.from({ length: 4 }, () => claim(db, id, { limit: 5 }))),
    );
    // What another was looking at was stepped over; the next look finds it.
    const rest = await claim(db, replicas[0]?.id ?? 0);
    const all = [...claims.flat(), ...rest].map(({ id }) => id);
    expect(all.sort()).toEqual(ids.sort());
  });

  it('is a new epoch of engine and operation where one is needed, each time', async () => {
    const { db, product, join } = await registry();
    const { id: owner } = await join();
    const boot = await addOperation(db, product.id, 'provision');
    const stop = await addOperation(db, product.id, 'stop');
    for (const round of [1, 2]) {
      const claims = await claim(db, owner);
      expect(claims.map(({ kind, epoch, lease, attempt }) => ({ kind, epoch, lease, attempt }))).toEqual(
        expect.arrayContaining([
          { kind: 'provision', epoch: round, lease: round, attempt: round },
          { kind: 'stop', epoch: 0, lease: round, attempt: round },
        ]),
      );
      const engines = await db.query<EngineRow>('SELECT * FROM engines');
      expect(engines.find(({ id }) => id === boot.engine_id)?.epoch).toBe(round);
      expect(engines.find(({ id }) => id === stop.engine_id)?.epoch).toBe(0);
      await db.query('UPDATE operations SET lease_until = now()');
    }
  });

  it('takes nothing from a replica that lives, and all from one that is dead, at once', async () => {
    const { db, product, join } = await registry();
    const [first, second] = [await join(), await join()];
    const { id } = await addOperation(db, product.id, 'stop');
    expect(await claim(db, first.id)).toHaveLength(1);
    expect(await claim(db, second.id)).toEqual([]);
    expect(await claim(db, second.id, { id })).toEqual([]);
    await first.close();
    const [taken] = await until('it is free', async () => {
      const claims = await claim(db, second.id);
      return claims.length > 0 && claims;
    });
    expect(taken).toMatchObject({ id, owner: second.id, lease: 2, attempt: 2 });
  });

  it('takes from one that lives what it has not renewed in time', async () => {
    const { db, product, join } = await registry();
    const [first, second] = [await join(), await join()];
    const { id } = await addOperation(db, product.id, 'stop');
    const [held] = await claim(db, first.id, { lease_s: 0.3 });
    if (held === undefined) throw new Error('not claimed');
    expect(await renewLeases(db, first.id, [held], 0.3)).toEqual([id]);
    await until('it has run out', async () => (await claim(db, second.id)).length > 0);
    expect(await renewLeases(db, first.id, [held], 30)).toEqual([]);
    expect(await noteStep(db, held, 'remove', {})).toBe(false);
    expect(await endOperation(db, held, none)).toBe(null);
    expect(await rowOf(db, id)).toMatchObject({ owner: second.id, step: 'create', outcome: null });
  });

  it('finds again what the answer to an earlier one was lost of, and only that', async () => {
    const { db, product, join } = await registry();
    const { id: owner } = await join();
    const [lost, known] = [
      await addOperation(db, product.id, 'stop'),
      await addOperation(db, product.id, 'stop'),
    ];
    await claim(db, owner);
    expect(await claim(db, owner)).toEqual([]);
    const again = await claim(db, owner, { known: [known.id] });
    expect(again.map(({ id }) => id)).toEqual([lost.id]);
  });

  it('does not move the deadline, but leaves a last chance after an outage', async () => {
    const { db, product, join } = await registry();
    const { id: owner } = await join();
    const long = await addOperation(db, product.id, 'stop', 60);
    const short = await addOperation(db, product.id, 'stop', 2);
    for (const { id, deadline, remaining_ms } of await claim(db, owner)) {
      const asked = id === long.id ? long : short;
      expect(deadline).toEqual(asked.deadline);
      expect(remaining_ms).toBeLessThanOrEqual(id === long.id ? 60_000 : 2_000);
    }
    await db.query('UPDATE operations SET lease_until = now()');
    for (const { id, deadline, remaining_ms } of await claim(db, owner)) {
      if (id === long.id) expect(deadline).toEqual(long.deadline);
      else expect(remaining_ms).toBe(15_000);
    }
  });
});

describe('a replica', () => {
  it('is alive again by itself after its connection broke', async () => {
    const { db, product, join } = await registry();
    const [first, second] = [await join(), await join()];
    await addOperation(db, product.id, 'stop');
    await claim(db, first.id);
    const holders = async () =>
      (
        await db.query<{ pid: number }>(
          `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND granted
              AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
          [first.id],
        )
      ).map(({ pid }) => pid);
    const [broken] = await holders();
    await db.query('SELECT pg_terminate_backend($1)', [broken]);
    // For a moment the connection that is being ended still holds it.
    await until('it holds its lock again', async () => {
      const [pid] = await holders();
      return pid !== undefined && pid !== broken;
    });
    expect(await claim(db, second.id)).toEqual([]);
  });
});
