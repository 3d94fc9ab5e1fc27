/**
 * Two orchestrators that act on one engine in the same moment. Which of them is first is open, and both
 * orders are right; what never may be is two processes, or a backend that says one thing and has another.
 */
import { describe, expect, it } from 'vitest';
import type { Backend, EngineSpec } from '../../../src/backends/contract.ts';
import { at, created, forEver, type MakePlace, type Place, tookEffect, world } from './place.ts';

async function expectUp(place: Place, backend: Backend, { engine_id, epoch }: EngineSpec) {
  expect(await place.running(engine_id)).toHaveLength(1);
  expect(await backend.is_running(engine_id)).toEqual({ state: 'present', epoch, frozen: false });
}

async function expectDown(place: Place, backend: Backend, { engine_id }: EngineSpec) {
  expect(await place.running(engine_id)).toEqual([]);
  expect(await backend.is_running(engine_id)).toMatchObject({ state: 'absent' });
}

type World = Awaited<ReturnType<typeof world>>;

/** `rounds`: how often each race is run; both orders come up within a few. */
export function checkRaces(makePlace: MakePlace, rounds: number): void {
  const race = (name: string, run: (w: World, engine: EngineSpec) => Promise<void>) =>
    it(name, async () => {
      const w = await world(makePlace);
      for (let round = 0; round < rounds; round += 1) {
        const engine = w.place.newEngine();
        await run(w, engine);
        // It would only take the processor from the next.
        await w.place.kill(engine.engine_id);
      }
    });

  describe('in the same moment', () => {
    race('two creates of one epoch make one engine', async ({ place, one, other }, engine) => {
      await Promise.all([one.create(engine, forEver), other.create(engine, forEver)]);
      for (const backend of [one, other]) await expectUp(place, backend, engine);
    });

    race('of two creates the higher epoch is the one that stands', async ({ place, one, other }, engine) => {
      const higher = at(engine, 2);
      await Promise.all([tookEffect(one.create(engine, forEver)), other.create(higher, forEver)]);
      await expectUp(place, one, higher);
    });

    race('a stop does not touch what a later create makes', async ({ place, one, other }, engine) => {
      await created(place, one, engine);
      const next = at(engine, 2);
      await Promise.all([tookEffect(one.stop(engine.engine_id, { epoch: 1 })), other.create(next, forEver)]);
      await expectUp(place, one, next);
    });

    race('a create does not outlive a later stop', async ({ place, one, other }, engine) => {
      await Promise.all([
        tookEffect(one.create(engine, forEver)),
        other.stop(engine.engine_id, { epoch: 2 }),
      ]);
      await expectDown(place, one, engine);
    });

    race('a create does not outlive a destroy', async ({ place, one, other }, engine) => {
      await Promise.all([
        tookEffect(one.create(engine, forEver)),
        other.destroy(engine.engine_id, { epoch: 1 }),
      ]);
      expect(await place.traces(engine)).toEqual([]);
    });

    race('of a destroy and a later create one takes effect', async ({ place, one, other }, engine) => {
      await created(place, one, engine);
      const next = at(engine, 2);
      const [up, gone] = await Promise.all([
        tookEffect(one.create(next, forEver)),
        tookEffect(other.destroy(engine.engine_id, { epoch: 1 })),
      ]);
      expect(up && gone).toBe(false);
      // Each may have seen the other come and stood back: then the outdated one is out of the way now.
      if (!up && !gone) await one.create(next, forEver);
      if (gone) expect(await place.traces(engine)).toEqual([]);
      else await expectUp(place, other, next);
    });

    race('an outdated destroy is in nobody’s way', async ({ place, one, other }, engine) => {
      await created(place, one, at(engine, 2));
      const next = at(engine, 3);
      const [gone] = await Promise.all([
        tookEffect(other.destroy(engine.engine_id, { epoch: 1 })),
        one.create(next, forEver),
      ]);
      expect(gone).toBe(false);
      await expectUp(place, other, next);
    });

    race(
      'a freeze does not hold an engine that a later epoch thaws',
      async ({ place, one, other }, engine) => {
        await created(place, one, engine);
        const [, thawed] = await Promise.all([
          one.freeze(engine.engine_id, { epoch: 1 }),
          other.thaw(engine.engine_id, { epoch: 2 }),
        ]);
        expect(thawed).toBe(true);
        await expectUp(place, one, at(engine, 2));
      },
    );
  });
}
