/**
 * Callers that come too late: each stands still in the middle of its call, as a frozen process does, while
 * another orchestrator acts on the same engine, and then goes on. The fence and the marks of the destroyed are
 * for nobody else, and a look at them that is left out shows nowhere but here.
 */
import { describe, expect, it } from 'vitest';
import { type Backend, type EngineSpec, StaleEpoch } from '../../../src/backends/contract.ts';
import type { Failpoint } from '../../../src/failpoints.ts';
import { at, created, forEver, type MakePlace, type Place, tookEffect, world } from './place.ts';

/** Makes a call with a backend that stands still at `point` until `meanwhile` has happened; what it made of it. */
async function lateAt(
  place: Place,
  point: Failpoint,
  meanwhile: () => void,
  call: (late: Backend) => Promise<unknown>,
) {
  let came = false;
  const late = place.open((hit) => {
    if (came || hit !== point) return;
    came = true;
    meanwhile();
  });
  return { effect: await tookEffect(call(late)), came };
}

const pointsOf = (place: Place, prefix: string) => place.points.filter((name) => name.startsWith(prefix));

async function expectUp(place: Place, backend: Backend, { engine_id, epoch }: EngineSpec) {
  expect(await place.running(engine_id)).toHaveLength(1);
  expect(await backend.is_running(engine_id)).toEqual({ state: 'present', epoch, frozen: false });
}

export function checkLate(makePlace: MakePlace): void {
  describe('a create that was frozen, anywhere', () => {
    const create = (engine: EngineSpec) => (late: Backend) => late.create(engine, forEver);

    it('does nothing to the engine of a later epoch', async () => {
      const { place, one } = await world(makePlace);
      for (const point of pointsOf(place, 'create.')) {
        const engine = place.newEngine();
        const next = at(engine, 2);
        const meanwhile = () => expect(place.elsewhere('create', next)).toBe('done');
        expect(await lateAt(place, point, meanwhile, create(engine))).toEqual({ effect: false, came: true });
        await expectUp(place, one, next);
      }
    });

    it('brings nothing up after a later stop', async () => {
      const { place, one } = await world(makePlace);
      for (const point of pointsOf(place, 'create.')) {
        const engine = place.newEngine();
        const meanwhile = () => expect(place.elsewhere('stop', at(engine, 2))).toBe('done');
        expect(await lateAt(place, point, meanwhile, create(engine))).toEqual({ effect: false, came: true });
        expect(await place.running(engine.engine_id)).toEqual([]);
        expect(await one.is_running(engine.engine_id)).toMatchObject({ state: 'absent' });
      }
    });

    it('brings nothing back after a destroy', async () => {
      const { place } = await world(makePlace);
      for (const point of pointsOf(place, 'create.')) {
        const engine = place.newEngine();
        const meanwhile = () => expect(place.elsewhere('destroy', engine)).toBe('done');
        expect(await lateAt(place, point, meanwhile, create(engine))).toEqual({ effect: false, came: true });
        expect(await place.traces(engine)).toEqual([]);
      }
    });

    it('brings nothing up in the middle of a destroy, which has looked for processes and will not again', async () => {
      const { place, other } = await world(makePlace);
      const middles = [...pointsOf(place, 'stop.'), ...pointsOf(place, 'remove.')];
      for (const point of pointsOf(place, 'create.')) {
        for (const middle of middles) {
          const engine = place.newEngine();
          const meanwhile = () => expect(place.elsewhere('destroy', engine, middle)).toBe('died');
          const { effect, came } = await lateAt(place, point, meanwhile, create(engine));
          expect([point, middle, effect, came]).toEqual([point, middle, false, true]);
          expect(await place.running(engine.engine_id)).toEqual([]);
          await other.destroy(engine.engine_id, { epoch: 1 });
          expect(await place.traces(engine)).toEqual([]);
        }
      }
    });
  });

  describe('a stop that was frozen, anywhere', () => {
    it('does nothing to the engine of a later epoch', async () => {
      const { place, one } = await world(makePlace);
      for (const point of pointsOf(place, 'stop.')) {
        const engine = place.newEngine();
        const { engine_id } = engine;
        await created(place, one, engine);
        const next = at(engine, 2);
        const meanwhile = () => expect(place.elsewhere('create', next)).toBe('done');
        const late = await lateAt(place, point, meanwhile, (late) => late.stop(engine_id, { epoch: 1 }));
        expect(late.came).toBe(true);
        await expectUp(place, one, next);
      }
    });
  });

  describe('a destroy that was frozen, anywhere', () => {
    const destroy =
      ({ engine_id, epoch }: EngineSpec) =>
      (late: Backend) =>
        late.destroy(engine_id, { epoch });

    it('goes on to its end; what would come up meanwhile is refused', async () => {
      const { place, one } = await world(makePlace);
      for (const point of pointsOf(place, 'remove.')) {
        const engine = place.newEngine();
        await created(place, one, engine);
        const meanwhile = () => expect(place.elsewhere('create', at(engine, 2))).toBe('refused');
        expect(await lateAt(place, point, meanwhile, destroy(engine))).toEqual({ effect: true, came: true });
        expect(await place.traces(engine)).toEqual([]);
      }
    });

    // An outdated one may be refused before it comes to a point at all: then the other acts after it.
    it('is in nobody’s way where it is outdated', async () => {
      const { place, one } = await world(makePlace);
      for (const point of pointsOf(place, 'remove.')) {
        const engine = place.newEngine();
        await created(place, one, at(engine, 2));
        const next = at(engine, 3);
        const meanwhile = () => expect(place.elsewhere('create', next)).toBe('done');
        const { effect, came } = await lateAt(place, point, meanwhile, destroy(engine));
        expect(effect).toBe(false);
        if (!came) meanwhile();
        await expectUp(place, one, next);
      }
    });

    it('takes nothing back of a rightful one where it is outdated', async () => {
      const { place, one, other } = await world(makePlace);
      for (const point of pointsOf(place, 'remove.')) {
        const engine = place.newEngine();
        await created(place, one, at(engine, 2));
        const last = pointsOf(place, 'remove.').at(-1);
        const meanwhile = () => expect(place.elsewhere('destroy', at(engine, 2), last)).toBe('died');
        const { effect, came } = await lateAt(place, point, meanwhile, destroy(engine));
        expect(effect).toBe(false);
        if (!came) meanwhile();
        await expect(other.create(at(engine, 3), forEver)).rejects.toThrow(StaleEpoch);
        await other.destroy(engine.engine_id, { epoch: 2 });
        expect(await place.traces(engine)).toEqual([]);
      }
    });
  });
}
