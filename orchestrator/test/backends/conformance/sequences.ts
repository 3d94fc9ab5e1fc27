/**
 * Any calls in any order, by two orchestrators, with crashes between them: a model of a few lines says what
 * each has to do, and after a destroy nothing of the engine may be left. At the end nothing of the backends
 * may be left either.
 */
import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type Backend, StaleEpoch } from '../../../src/backends/contract.ts';
import { until } from '../../support/wait.ts';
import { watchHeld } from './held.ts';
import { at, type MakePlace, type Place, tookEffect, world } from './place.ts';

/** Calls in the longest sequence. */
const MAX_CALLS = 6;
/** For a machine that is busy with other tests, milliseconds. */
const TIME_LIMIT_MS = 90_000;
const MAX_EPOCH = 3;

type Model = { highest: number; stands: { epoch: number; frozen: boolean } | null; destroyed: boolean };

/** What a call gives in this state, and what the state is then. */
const MODEL = {
  create(model: Model, epoch: number) {
    if (model.destroyed || epoch < model.highest) return StaleEpoch;
    Object.assign(model, { highest: epoch, stands: { epoch, frozen: false } });
  },
  stop(model: Model, epoch: number) {
    if (model.destroyed) return;
    if (epoch < model.highest) return StaleEpoch;
    Object.assign(model, { highest: epoch, stands: null });
  },
  destroy(model: Model, epoch: number) {
    if (model.destroyed) return;
    if (epoch < model.highest) return StaleEpoch;
    Object.assign(model, { destroyed: true, stands: null });
  },
  freeze(model: Model, epoch: number) {
    if (model.stands?.epoch !== epoch) return false;
    model.stands.frozen = true;
    return true;
  },
  thaw(model: Model, epoch: number) {
    if (model.stands === null || model.stands.epoch > epoch) return false;
    Object.assign(model, { highest: epoch, stands: { epoch, frozen: false } });
    return true;
  },
  kill(model: Model) {
    model.stands = null;
  },
};
type What = keyof typeof MODEL;

const anyCall = fc.record({
  what: fc.oneof(
    { weight: 4, arbitrary: fc.constant<What>('create') },
    { weight: 7, arbitrary: fc.constantFrom<What>('stop', 'freeze', 'thaw', 'kill') },
    { weight: 1, arbitrary: fc.constant<What>('destroy') },
  ),
  epoch: fc.integer({ min: 1, max: MAX_EPOCH }),
  by: fc.constantFrom(0, 1),
});

export function checkSequences(makePlace: MakePlace, runs: number): void {
  it(
    `does as the model says, and leaves nothing, over ${runs} sequences of calls`,
    async () => {
      const held = watchHeld();
      const { place, one, other } = await world(makePlace);
      const listeners = listenersOfThisProcess();
      const { signal } = new AbortController();

      await fc.assert(
        fc.asyncProperty(fc.array(anyCall, { maxLength: MAX_CALLS }), async (calls) => {
          const engine = place.newEngine();
          const id = engine.engine_id;
          const model: Model = { highest: 0, stands: null, destroyed: false };
          let before: { epoch: number | undefined; running: string[] } = { epoch: undefined, running: [] };
          for (const { what, epoch, by } of calls) {
            const backend = by === 0 ? one : other;
            const expected = MODEL[what](model, epoch);
            const outcome = call(what, backend, place, at(engine, epoch), signal);
            if (expected === StaleEpoch) await expect(outcome).rejects.toThrow(StaleEpoch);
            else if (expected === undefined) await outcome;
            else expect(await tookEffect(outcome)).toBe(expected);

            const running = await place.running(id);
            expect(running).toHaveLength(model.stands === null ? 0 : 1);
            // Of the same epoch, or thawed into another: it is still the one it was.
            const kept = what !== 'create' || before.epoch === epoch;
            if (model.stands !== null && before.epoch !== undefined && kept) {
              expect(running).toEqual(before.running);
            }
            before = { epoch: model.stands?.epoch, running };
            for (const looking of [one, other]) {
              expect(await looking.is_running(id)).toMatchObject(
                model.stands === null ? { state: 'absent' } : { state: 'present', ...model.stands },
              );
            }
          }
          await one.destroy(id, { epoch: MAX_EPOCH });
          expect(await place.traces(engine)).toEqual([]);
          expect(await other.list()).toEqual([]);
        }),
        { numRuns: runs },
      );

      expect(getEventListeners(signal, 'abort')).toEqual([]);
      for (const backend of [one, other]) await backend.close();
      expect(listenersOfThisProcess()).toEqual(listeners);
      await until('nothing is held any more', () => held.now().length === 0).catch(() => {
        expect(held.now()).toEqual([]);
      });
      expect(held.seen()).toBeGreaterThan(0);
      held.stop();
    },
    TIME_LIMIT_MS,
  );
}

async function call(
  what: What,
  backend: Backend,
  place: Place,
  engine: ReturnType<Place['newEngine']>,
  signal: AbortSignal,
): Promise<unknown> {
  const { engine_id, epoch } = engine;
  switch (what) {
    case 'create':
      await backend.create(engine, signal);
      return;
    case 'kill':
      return await place.kill(engine_id);
    default:
      return await backend[what](engine_id, { epoch });
  }
}

const listenersOfThisProcess = () =>
  Object.fromEntries(process.eventNames().map((name) => [String(name), process.listenerCount(name)]));
