/**
 * Copies of an engine's data: what an upgrade keeps and a rollback brings back. What breaks off and what comes late
 * must never cost the data that is there, nor the copy.
 */
import { describe, expect, it } from 'vitest';
import { type Backend, type EngineSpec, StaleEpoch } from '../../../src/backends/contract.ts';
import type { Failpoint } from '../../../src/failpoints.ts';
import { at, created, forEver, type MakePlace, type Place, tookEffect, world } from './place.ts';

const copy = ({ image }: EngineSpec, epoch: number) => ({ epoch, image });
const pointsOf = (place: Place, prefix: string) => place.points.filter((name) => name.startsWith(prefix));

/** An engine that has been stopped at epoch 1, with these words in its data. */
async function down(place: Place, backend: Backend, words: string): Promise<EngineSpec> {
  const engine = place.newEngine();
  await created(place, backend, engine);
  await backend.stop(engine.engine_id, { epoch: 1 });
  await place.writeData(engine.engine_id, words);
  return engine;
}

export function checkSnapshots(makePlace: MakePlace): void {
  describe('a copy of the data', () => {
    it('is brought back as often as it is asked for, by anybody, and the engine runs on it', async () => {
      const { place, one, other } = await world(makePlace);
      const engine = await down(place, one, 'before');
      const { engine_id } = engine;
      await one.snapshot(engine_id, copy(engine, 2));
      for (const epoch of [3, 4]) {
        await place.writeData(engine_id, `after ${epoch}`);
        expect(await other.revert(engine_id, copy(engine, epoch))).toBe(true);
        expect(await place.readData(engine_id)).toBe('before');
      }
      await created(place, one, at(engine, 5));
      expect(await place.readData(engine_id)).toBe('before');
      expect(await one.is_running(engine_id)).toMatchObject({ state: 'present', epoch: 5 });
    });

    it('is the one made last; made again for the same epoch it stays as it is', async () => {
      const { place, one, other } = await world(makePlace);
      const engine = await down(place, one, 'first');
      const { engine_id } = engine;
      await one.snapshot(engine_id, copy(engine, 2));
      await place.writeData(engine_id, 'second');
      await other.snapshot(engine_id, copy(engine, 3));
      await place.writeData(engine_id, 'third');
      await one.snapshot(engine_id, copy(engine, 3));
      expect(await one.revert(engine_id, copy(engine, 4))).toBe(true);
      expect(await place.readData(engine_id)).toBe('second');
    });

    it('is there only once it was made, and until it is forgotten', async () => {
      const { place, one, other } = await world(makePlace);
      const engine = await down(place, one, 'words');
      const { engine_id } = engine;
      expect(await one.revert(engine_id, copy(engine, 2))).toBe(false);
      await one.forget(engine_id, { epoch: 2 });
      await one.snapshot(engine_id, copy(engine, 2));
      await other.forget(engine_id, { epoch: 2 });
      expect(await one.revert(engine_id, copy(engine, 3))).toBe(false);
      expect(await place.readData(engine_id)).toBe('words');
    });

    it('is neither made nor brought back while the engine runs', async () => {
      const { place, one } = await world(makePlace);
      const engine = await down(place, one, 'words');
      const { engine_id } = engine;
      await one.snapshot(engine_id, copy(engine, 2));
      await created(place, one, at(engine, 3));
      await place.writeData(engine_id, 'at work');
      await expect(one.snapshot(engine_id, copy(engine, 3))).rejects.toThrow();
      await expect(one.revert(engine_id, copy(engine, 3))).rejects.toThrow();
      expect(await place.readData(engine_id)).toBe('at work');
      expect(await place.running(engine_id)).toHaveLength(1);
    });

    it('is nothing for callers of an earlier epoch', async () => {
      const { place, one, other } = await world(makePlace);
      const engine = await down(place, one, 'first');
      const { engine_id } = engine;
      await one.snapshot(engine_id, copy(engine, 3));
      await place.writeData(engine_id, 'second');
      await expect(other.snapshot(engine_id, copy(engine, 2))).rejects.toThrow(StaleEpoch);
      await expect(other.revert(engine_id, copy(engine, 2))).rejects.toThrow(StaleEpoch);
      await expect(other.forget(engine_id, { epoch: 2 })).rejects.toThrow(StaleEpoch);
      expect(await place.readData(engine_id)).toBe('second');
      expect(await one.revert(engine_id, copy(engine, 4))).toBe(true);
      expect(await place.readData(engine_id)).toBe('first');
    });

    it('goes with the engine, and is not made of a destroyed one', async () => {
      const { place, one, other } = await world(makePlace);
      const engine = await down(place, one, 'words');
      const { engine_id } = engine;
      await one.snapshot(engine_id, copy(engine, 2));
      expect((await place.traces(engine)).length).toBeGreaterThan(1);
      await one.destroy(engine_id, { epoch: 3 });
      await expect(other.snapshot(engine_id, copy(engine, 4))).rejects.toThrow(StaleEpoch);
      await expect(other.revert(engine_id, copy(engine, 4))).rejects.toThrow(StaleEpoch);
      expect(await place.traces(engine)).toEqual([]);
    });
  });

  describe('a copy that breaks off', () => {
    it('leaves the one before, and is made by the next try', async () => {
      const { place, one, other } = await world(makePlace);
      for (const point of pointsOf(place, 'snapshot.')) {
        const engine = await down(place, one, 'first');
        const { engine_id } = engine;
        await one.snapshot(engine_id, copy(engine, 2));
        await place.writeData(engine_id, 'second');
        await expect(place.open(breakAt(point)).snapshot(engine_id, copy(engine, 3))).rejects.toThrow(point);
        expect(await place.readData(engine_id)).toBe('second');
        await other.snapshot(engine_id, copy(engine, 4));
        await place.writeData(engine_id, 'third');
        await other.revert(engine_id, copy(engine, 5));
        expect(await place.readData(engine_id)).toBe('second');
        await expect(place.open(breakAt(point)).snapshot(engine_id, copy(engine, 6))).rejects.toThrow(point);
        await place.writeData(engine_id, 'fourth');
        await other.revert(engine_id, copy(engine, 7));
        expect(await place.readData(engine_id)).toBe('second');
        await other.destroy(engine_id, { epoch: 7 });
        expect(await place.traces(engine)).toEqual([]);
      }
    });

    it('on its way back is brought back by the next try, whatever it has done', async () => {
      const { place, one, other } = await world(makePlace);
      for (const point of pointsOf(place, 'revert.')) {
        const engine = await down(place, one, 'before');
        const { engine_id } = engine;
        await one.snapshot(engine_id, copy(engine, 2));
        await place.writeData(engine_id, 'after');
        await expect(place.open(breakAt(point)).revert(engine_id, copy(engine, 3))).rejects.toThrow(point);
        expect(await other.revert(engine_id, copy(engine, 4))).toBe(true);
        expect(await place.readData(engine_id)).toBe('before');
        await expect(place.open(breakAt(point)).revert(engine_id, copy(engine, 5))).rejects.toThrow(point);
        await other.destroy(engine_id, { epoch: 6 });
        expect(await place.traces(engine)).toEqual([]);
      }
    });
  });

  describe('a copy that was frozen, anywhere', () => {
    it('is not seen once the next epoch has the data', async () => {
      const { place, one } = await world(makePlace);
      for (const point of pointsOf(place, 'snapshot.')) {
        const engine = await down(place, one, 'words');
        const { engine_id } = engine;
        const next = at(engine, 3);
        const meanwhile = () => expect(place.elsewhere('create', next)).toBe('done');
        const late = place.open(once(point, meanwhile));
        expect(await tookEffect(late.snapshot(engine_id, copy(engine, 2)))).toBe(false);
        expect(await one.is_running(engine_id)).toMatchObject({ state: 'present', epoch: 3 });
        await one.stop(engine_id, { epoch: 4 });
        expect(await one.revert(engine_id, copy(engine, 4))).toBe(false);
      }
    });

    it('on its way back changes nothing after another has brought it back', async () => {
      const { place, one } = await world(makePlace);
      for (const point of pointsOf(place, 'revert.')) {
        const engine = await down(place, one, 'before');
        const { engine_id } = engine;
        await one.snapshot(engine_id, copy(engine, 2));
        await place.writeData(engine_id, 'after');
        const meanwhile = () => expect(place.elsewhere('revert', at(engine, 4))).toBe('done');
        const late = place.open(once(point, meanwhile));
        expect(await tookEffect(late.revert(engine_id, copy(engine, 3)))).toBe(false);
        expect(await place.readData(engine_id)).toBe('before');
        await one.create(at(engine, 5), forEver);
        expect(await place.readData(engine_id)).toBe('before');
      }
    });
  });
}

const breakAt = (point: Failpoint) => (hit: Failpoint) => {
  if (hit === point) throw new Error(`broken at ${point}`);
};

/** Does it the first time that `point` is hit. */
function once(point: Failpoint, what: () => void) {
  let came = false;
  return (hit: Failpoint) => {
    if (came || hit !== point) return;
    came = true;
    what();
  };
}
