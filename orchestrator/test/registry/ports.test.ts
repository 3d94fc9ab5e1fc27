import { describe, expect, it } from 'vitest';
import type { Db } from '../../src/registry/db.ts';
import { deleteEngine } from '../../src/registry/engines.ts';
import { claimPort, setPortAside, syncPorts } from '../../src/registry/ports.ts';
import { addEngine, addProduct, createRegistry } from '../support/registry.ts';

async function engines(db: Db, count: number): Promise<string[]> {
  const { id } = await addProduct(db);
  const added = await Promise.all(Array.from({ length: count }, (_, n) => addEngine(db, id, `u${n}`)));
  return added.map((engine) => (typeof engine === 'string' ? '' : engine.id));
}

describe('ports (O13)', () => {
  const range = { min: 9001, max: 9008 };

  it('are given from the first on, and the same again to the same engine', async () => {
    const db = await createRegistry();
    await syncPorts(db, range);
    const [a = '', b = ''] = await engines(db, 2);
    expect(await claimPort(db, a, range)).toBe(9001);
    expect(await claimPort(db, b, range)).toBe(9002);
    expect(await claimPort(db, a, range)).toBe(9001);
  });

  it('are never given twice, and run out with PORT_EXHAUSTION', async () => {
    const db = await createRegistry();
    await syncPorts(db, range);
    const ids = await engines(db, 12);
    const claims = await Promise.allSettled(ids.map((id) => claimPort(db, id, range)));
    const given = claims.flatMap((claim) => (claim.status === 'fulfilled' ? [claim.value] : []));
    expect(given.sort()).toEqual([9001, 9002, 9003, 9004, 9005, 9006, 9007, 9008]);
    const refused = claims.flatMap((claim) => (claim.status === 'rejected' ? [claim.reason] : []));
    expect(refused).toHaveLength(4);
    for (const error of refused) expect(error).toMatchObject({ code: 'PORT_EXHAUSTION', retry_after_s: 60 });
  });

  it('are one and the same to all who claim for one engine in the same moment', async () => {
    const db = await createRegistry();
    await syncPorts(db, range);
    const [a = ''] = await engines(db, 1);
    for (let round = 0; round < 20; round += 1) {
      const claims = await Promise.all(Array.from({ length: 8 }, () => claimPort(db, a, range)));
      expect(new Set(claims).size).toBe(1);
      await setPortAside(db, a);
      await db.query('UPDATE ports SET set_aside_until = NULL');
    }
  });

  it('come back with the end of their engine', async () => {
    const db = await createRegistry();
    await syncPorts(db, range);
    const [a = '', b = ''] = await engines(db, 2);
    await claimPort(db, a, range);
    await deleteEngine(db, a);
    expect(await claimPort(db, b, range)).toBe(9001);
  });

  it('on which something else listens are left alone for a while', async () => {
    const db = await createRegistry();
    await syncPorts(db, { min: 9001, max: 9002 });
    const [a = ''] = await engines(db, 1);
    await claimPort(db, a, range);
    await setPortAside(db, a);
    expect(await claimPort(db, a, range)).toBe(9002);
    await setPortAside(db, a);
    await expect(claimPort(db, a, range)).rejects.toMatchObject({ code: 'PORT_EXHAUSTION' });
    await db.query("UPDATE ports SET set_aside_until = now() - interval '1 second'");
    expect(await claimPort(db, a, range)).toBe(9001);
  });

  it('outside of the range stay with their engines and are not given out', async () => {
    const db = await createRegistry();
    await syncPorts(db, range);
    const [a = '', b = ''] = await engines(db, 2);
    await claimPort(db, a, range);
    const moved = { min: 9005, max: 9010 };
    await syncPorts(db, moved);
    expect(await claimPort(db, a, moved)).toBe(9001);
    expect(await claimPort(db, b, moved)).toBe(9005);
  });
});
