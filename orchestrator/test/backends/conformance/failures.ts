/**
 * Calls that break off half way: at each failpoint of the backend, and each way out of it that the contract
 * promises, taken by an orchestrator that knows nothing of the first try.
 */
import { describe, expect, it } from 'vitest';
import { type Backend, type EngineSpec, StaleEpoch } from '../../../src/backends/contract.ts';
import type { Failpoint } from '../../../src/failpoints.ts';
import { at, created, forEver, type MakePlace, type Place, world } from './place.ts';

type Act = (backend: Backend, engine: EngineSpec) => Promise<unknown>;

/** What is done to an engine that stands at epoch 1, for epoch 2. */
const ACTS = {
  create: (backend, engine) => backend.create(at(engine, 2), forEver),
  stop: (backend, { engine_id }) => backend.stop(engine_id, { epoch: 2 }),
  destroy: (backend, { engine_id }) => backend.destroy(engine_id, { epoch: 2 }),
} satisfies Record<string, Act>;
type Name = keyof typeof ACTS;

/** What breaks off, where, and what may be done about it: the same again, or what an operator decides instead. */
const CASES: { broken: Name; points: string; ways_out: Name[] }[] = [
  { broken: 'create', points: 'create.', ways_out: ['create', 'stop', 'destroy'] },
  { broken: 'stop', points: 'stop.', ways_out: ['stop', 'create', 'destroy'] },
  { broken: 'destroy', points: 'stop.', ways_out: ['destroy'] },
  { broken: 'destroy', points: 'remove.', ways_out: ['destroy'] },
];

/** What has to be true after each. */
async function settled(way_out: Name, place: Place, backend: Backend, engine: EngineSpec): Promise<void> {
  const { engine_id } = engine;
  if (way_out === 'create') {
    expect(await place.running(engine_id)).toHaveLength(1);
    expect(await backend.is_running(engine_id)).toEqual({ state: 'present', epoch: 2, frozen: false });
  } else {
    expect(await place.running(engine_id)).toEqual([]);
    expect(await backend.is_running(engine_id)).toMatchObject({ state: 'absent' });
  }
  if (way_out !== 'destroy') {
    expect(await place.readData(engine_id)).toBe('what it knows');
    return;
  }
  expect(await place.traces(engine)).toEqual([]);
  await expect(backend.create(at(engine, 3), forEver)).rejects.toThrow(StaleEpoch);
  expect(await place.traces(engine)).toEqual([]);
}

export function checkFailures(makePlace: MakePlace): void {
  describe.each(CASES)('a $broken that breaks off at one of $points*', ({ broken, points, ways_out }) => {
    it.each(ways_out)('is settled by %s', async (way_out) => {
      const { place, one, other } = await world(makePlace);
      for (const point of place.points.filter((name) => name.startsWith(points))) {
        const engine = place.newEngine();
        await created(place, one, engine);
        await place.writeData(engine.engine_id, 'what it knows');
        await expect(ACTS[broken](place.open(breakAt(point)), engine)).rejects.toThrow(`broken at ${point}`);
        await ACTS[way_out](other, engine);
        await settled(way_out, place, other, engine);
      }
    });
  });
}

const breakAt = (point: Failpoint) => (hit: Failpoint) => {
  if (hit === point) throw new Error(`broken at ${point}`);
};
