/** The contract call by call: one orchestrator, and a second one that only knows what the backend keeps. */
import { describe, expect, it } from 'vitest';
import { type Backend, type EngineExited, StaleEpoch } from '../../../src/backends/contract.ts';
import { until } from '../../support/wait.ts';
import { at, created, forEver, type MakePlace, tookEffect, world } from './place.ts';

/** Whether it answers at all; whether it is well is not the backend's business. */
const answers = async (url: string) =>
  await until('the engine answers', () =>
    fetch(`${url}/health`).then(
      () => true,
      () => false,
    ),
  );

const absence = async (backend: Backend, id: string) =>
  await until('it is absent', async () => {
    const presence = await backend.is_running(id);
    return presence.state === 'absent' && presence;
  });

export function checkContract(makePlace: MakePlace): void {
  const setUp = () => world(makePlace);

  describe('create', () => {
    it('brings an engine up where it says', async () => {
      const { place, one, engine, id } = await setUp();
      const { url } = await created(place, one, engine);
      await answers(url);
      expect(await place.running(id)).toHaveLength(1);
      expect(await one.is_running(id)).toEqual({ state: 'present', epoch: 1, frozen: false });
    });

    it('returns before the engine is well, and when it never will be', async () => {
      const { place, one, engine, id } = await setUp();
      await place.behave({ exit_code: 64, last_line: 'LLM_PROVIDER must be one of …' });
      await one.create(engine, forEver);
      const { exit } = await absence(one, id);
      expect(exit).toEqual({ code: 64, signal: null, last_words: 'LLM_PROVIDER must be one of …' });
    });

    it('takes one of the same epoch as it is, whoever made it', async () => {
      const { place, one, other, engine, id } = await setUp();
      const { name, url } = await created(place, one, engine);
      for (const backend of [one, other]) {
        expect((await backend.create(engine, forEver)).url).toBe(url);
        expect(await place.running(id)).toEqual([name]);
      }
    });

    it('ends one of an older epoch before it starts the next, and keeps its data', async () => {
      const { place, one, other, engine, id } = await setUp();
      await place.behave({ stubborn: true, last_act: true });
      const { name, url } = await created(place, one, engine);
      await answers(url);
      await place.writeData(id, 'what it knows');
      const replacement = other.create(at(engine, 2), forEver);
      await until('it is asked to end', async () => (await place.output(id)).includes('heard SIGTERM'));
      expect(await place.running(id)).toEqual([name]);
      await place.kill(id);
      await replacement;
      const running = await place.running(id);
      expect(running).toHaveLength(1);
      expect(running).not.toEqual([name]);
      expect(await one.is_running(id)).toEqual({ state: 'present', epoch: 2, frozen: false });
      expect(await place.readData(id)).toBe('what it knows');
    });

    it('brings nothing up once its caller has given up', async () => {
      const { place, one, engine, id } = await setUp();
      const tooLate = AbortSignal.abort(new Error('too late'));
      await expect(one.create(engine, tooLate)).rejects.toThrow('too late');
      expect(await place.running(id)).toEqual([]);
      expect(await one.is_running(id)).toEqual({ state: 'absent', exit: null });
    });

    it('brings nothing up when its caller gives up while the one before still ends', async () => {
      const { place, one, other, engine, id } = await setUp();
      await place.behave({ stubborn: true, last_act: true });
      await answers((await created(place, one, engine)).url);
      const caller = new AbortController();
      const replacement = other.create(at(engine, 2), caller.signal);
      const outcome = expect(replacement).rejects.toThrow('too late');
      await until('it is asked to end', async () => (await place.output(id)).includes('heard SIGTERM'));
      caller.abort(new Error('too late'));
      await place.kill(id);
      await outcome;
      expect(await place.running(id)).toEqual([]);
    });

    it('starts an engine that was stopped with the next epoch, on the same data', async () => {
      const { place, one, other, engine, id } = await setUp();
      await created(place, one, engine);
      await place.writeData(id, 'what it knows');
      await one.stop(id, { epoch: 1 });
      await created(place, other, at(engine, 2));
      expect(await one.is_running(id)).toEqual({ state: 'present', epoch: 2, frozen: false });
      expect(await place.readData(id)).toBe('what it knows');
    });
  });

  describe('stop', () => {
    it('asks the engine to end, returns once it is gone, and keeps its data', async () => {
      const { place, one, engine, id } = await setUp();
      const exits: EngineExited[] = [];
      one.onExit((exit) => exits.push(exit));
      await place.behave({ last_act: true });
      await answers((await created(place, one, engine)).url);
      await place.writeData(id, 'what it knows');
      await one.stop(id, { epoch: 1 });
      expect(await place.running(id)).toEqual([]);
      expect(await place.readData(id)).toBe('what it knows');
      await until('the exit is told', () => exits.length > 0);
      // It ended by itself: nobody had to kill it.
      expect(exits.map(({ report }) => report)).toMatchObject([{ code: 0, last_words: 'heard SIGTERM' }]);
    });

    it('kills an engine that ignores it after the grace', async () => {
      const { place, one, engine, id } = await setUp();
      await place.behave({ stubborn: true, last_act: true });
      await answers((await created(place, one, engine)).url);
      await one.stop(id, { epoch: 1, grace_s: 0.3 });
      expect(await place.running(id)).toEqual([]);
      expect(await place.output(id)).toContain('heard SIGTERM');
    });

    it('is fine with what is not there: never was, stopped, crashed, destroyed', async () => {
      const { place, one, other, engine, id } = await setUp();
      await one.stop(id, { epoch: 1 });
      await created(place, one, engine);
      await one.stop(id, { epoch: 1 });
      for (const backend of [one, other]) await backend.stop(id, { epoch: 1 });
      await created(place, one, at(engine, 2));
      await place.kill(id);
      for (const backend of [one, other]) await backend.stop(id, { epoch: 2 });
      await one.destroy(id, { epoch: 2 });
      for (const backend of [one, other]) await backend.stop(id, { epoch: 2 });
      expect(await place.traces(engine)).toEqual([]);
    });
  });

  describe('destroy', () => {
    it('ends the engine and leaves nothing of it, and nothing can bring it back', async () => {
      const { place, one, other, engine, id } = await setUp();
      await answers((await created(place, one, at(engine, 2))).url);
      expect(await place.traces(engine)).not.toEqual([]);
      await one.destroy(id, { epoch: 2 });
      expect(await place.traces(engine)).toEqual([]);
      for (const backend of [one, other]) {
        for (const epoch of [1, 2, 3]) {
          await expect(backend.create(at(engine, epoch), forEver)).rejects.toThrow(StaleEpoch);
          expect(await tookEffect(backend.freeze(id, { epoch }))).toBe(false);
          expect(await tookEffect(backend.thaw(id, { epoch }))).toBe(false);
        }
      }
      expect(await place.traces(engine)).toEqual([]);
      expect(await other.is_running(id)).toEqual({ state: 'absent', exit: null });
      expect(await other.list()).toEqual([]);
    });

    it('is fine with what is not there, and refuses what comes after it', async () => {
      const { place, one, other, engine, id } = await setUp();
      for (const backend of [one, one, other]) await backend.destroy(id, { epoch: 1 });
      await expect(other.create(engine, forEver)).rejects.toThrow(StaleEpoch);
      expect(await place.traces(engine)).toEqual([]);
    });

    it('removes an engine that is frozen, stopped or crashed', async () => {
      const { place, one, other, id, engine } = await setUp();
      const stopped = place.newEngine();
      const crashed = place.newEngine();
      for (const spec of [engine, stopped, crashed]) await created(place, one, spec);
      await one.freeze(id, { epoch: 1 });
      await one.stop(stopped.engine_id, { epoch: 1 });
      await place.kill(crashed.engine_id);
      for (const spec of [engine, stopped, crashed]) {
        await other.destroy(spec.engine_id, { epoch: 1 });
        expect(await place.traces(spec)).toEqual([]);
      }
    });
  });

  describe('the epoch', () => {
    it('of a caller that is outdated lets nothing happen to the engine', async () => {
      const { place, one, other, engine, id } = await setUp();
      const { name } = await created(place, one, at(engine, 3));
      await place.writeData(id, 'what it knows');
      for (const backend of [one, other]) {
        for (const epoch of [1, 2]) {
          await expect(backend.create(at(engine, epoch), forEver)).rejects.toThrow(StaleEpoch);
          await expect(backend.stop(id, { epoch, grace_s: 0 })).rejects.toThrow(StaleEpoch);
          await expect(backend.destroy(id, { epoch })).rejects.toThrow(StaleEpoch);
          expect(await tookEffect(backend.freeze(id, { epoch }))).toBe(false);
          expect(await tookEffect(backend.thaw(id, { epoch }))).toBe(false);
          expect(await place.running(id)).toEqual([name]);
          expect(await other.is_running(id)).toEqual({ state: 'present', epoch: 3, frozen: false });
        }
      }
      expect(await place.readData(id)).toBe('what it knows');
    });

    it('is remembered where nothing runs: after a stop, a crash, a stop of nothing', async () => {
      const { place, one, other, engine, id } = await setUp();
      await one.stop(id, { epoch: 2 });
      await expect(other.create(engine, forEver)).rejects.toThrow(StaleEpoch);
      await created(place, other, at(engine, 3));
      await place.kill(id);
      await expect(one.create(at(engine, 2), forEver)).rejects.toThrow(StaleEpoch);
      await one.stop(id, { epoch: 4 });
      await expect(other.create(at(engine, 3), forEver)).rejects.toThrow(StaleEpoch);
      await expect(other.destroy(id, { epoch: 3 })).rejects.toThrow(StaleEpoch);
      expect(await place.running(id)).toEqual([]);
      await created(place, other, at(engine, 4));
    });
  });

  describe('freeze and thaw', () => {
    it('make an engine stand still and go on, each as often as asked', async () => {
      const { place, one, other, engine, id } = await setUp();
      const { url, name } = await created(place, one, engine);
      await answers(url);
      for (const backend of [one, one, other]) {
        expect(await backend.freeze(id, { epoch: 1 })).toBe(true);
        for (const looking of [one, other]) {
          expect(await looking.is_running(id)).toEqual({ state: 'present', epoch: 1, frozen: true });
        }
      }
      let answered = false;
      const waiting = fetch(`${url}/health`).then(({ status }) => {
        answered = true;
        return status;
      });
      for (const looking of [one, other, one, other]) await looking.list();
      expect(answered).toBe(false);
      for (const backend of [one, one, other]) {
        expect(await backend.thaw(id, { epoch: 1 })).toBe(true);
        expect(await other.is_running(id)).toEqual({ state: 'present', epoch: 1, frozen: false });
      }
      expect(await waiting).toBe(200);
      expect(await place.running(id)).toEqual([name]);
    });

    it('say that there is nothing to freeze or to thaw', async () => {
      const { place, one, engine, id } = await setUp();
      const nothing = async () => {
        expect(await one.freeze(id, { epoch: 1 })).toBe(false);
        expect(await one.thaw(id, { epoch: 1 })).toBe(false);
      };
      await nothing();
      await created(place, one, engine);
      await place.kill(id);
      await nothing();
      await created(place, one, engine);
      await one.stop(id, { epoch: 1 });
      await nothing();
      expect(await place.running(id)).toEqual([]);
    });

    it('freeze only an engine of exactly that epoch', async () => {
      const { place, one, engine, id } = await setUp();
      await created(place, one, at(engine, 2));
      for (const epoch of [1, 3]) expect(await one.freeze(id, { epoch })).toBe(false);
      expect(await one.is_running(id)).toEqual({ state: 'present', epoch: 2, frozen: false });
      // A refused freeze has not made it another's either.
      expect(await one.freeze(id, { epoch: 2 })).toBe(true);
    });

    it('leave an engine of a higher epoch frozen', async () => {
      const { place, one, other, engine, id } = await setUp();
      await created(place, one, at(engine, 2));
      await one.freeze(id, { epoch: 2 });
      expect(await tookEffect(other.thaw(id, { epoch: 1 }))).toBe(false);
      expect(await one.is_running(id)).toEqual({ state: 'present', epoch: 2, frozen: true });
    });

    it('hand the engine to the one that thaws it, as create would have', async () => {
      const { place, one, other, engine, id } = await setUp();
      const { name } = await created(place, one, engine);
      await one.freeze(id, { epoch: 1 });
      expect(await other.thaw(id, { epoch: 3 })).toBe(true);
      expect(await one.is_running(id)).toEqual({ state: 'present', epoch: 3, frozen: false });
      expect(await tookEffect(one.freeze(id, { epoch: 1 }))).toBe(false);
      await expect(one.stop(id, { epoch: 2 })).rejects.toThrow(StaleEpoch);
      await one.create(at(engine, 3), forEver);
      expect(await place.running(id)).toEqual([name]);
      expect(await one.is_running(id)).toEqual({ state: 'present', epoch: 3, frozen: false });
    });

    it('do not keep a frozen engine from hearing that it is to end', async () => {
      const { place, one, other, engine, id } = await setUp();
      const exits: EngineExited[] = [];
      one.onExit((exit) => exits.push(exit));
      await answers((await created(place, one, engine)).url);
      await one.freeze(id, { epoch: 1 });
      await other.stop(id, { epoch: 1 });
      expect(await place.running(id)).toEqual([]);
      await until('the exit is told', () => exits.length > 0);
      expect(exits[0]?.report).toMatchObject({ code: 0, signal: null });
    });

    it('do not keep a frozen engine from create: let go on, or replaced', async () => {
      const { place, one, other, engine, id } = await setUp();
      const { name } = await created(place, one, engine);
      await one.freeze(id, { epoch: 1 });
      await other.create(engine, forEver);
      expect(await place.running(id)).toEqual([name]);
      expect(await one.is_running(id)).toEqual({ state: 'present', epoch: 1, frozen: false });
      await one.freeze(id, { epoch: 1 });
      await other.create(at(engine, 2), forEver);
      expect(await place.running(id)).not.toEqual([name]);
      expect(await one.is_running(id)).toEqual({ state: 'present', epoch: 2, frozen: false });
    });
  });

  describe('what it tells', () => {
    it('is absent where nothing ever was', async () => {
      const { one, id } = await setUp();
      expect(await one.is_running(id)).toEqual({ state: 'absent', exit: null });
      expect(await one.list()).toEqual([]);
    });

    it('is unknown, not absent, where it cannot make it out; then nothing has changed', async () => {
      const { place, one, other, engine, id } = await setUp();
      const { name } = await created(place, one, engine);
      const clear = await place.obscure(id);
      for (const backend of [one, other]) {
        expect(await backend.is_running(id)).toEqual({ state: 'unknown', reason: expect.any(String) });
        expect(await backend.list()).toMatchObject([{ engine_id: id, presence: { state: 'unknown' } }]);
      }
      expect(await place.running(id)).toEqual([name]);
      await clear();
      expect(await other.is_running(id)).toEqual({ state: 'present', epoch: 1, frozen: false });
    });

    it('does not keep an engine that cannot be made out from being ended', async () => {
      const { place, one, other, engine, id } = await setUp();
      await created(place, one, engine);
      await place.obscure(id);
      await other.stop(id, { epoch: 1 });
      expect(await place.running(id)).toEqual([]);
      await other.destroy(id, { epoch: 1 });
      expect(await place.traces(engine)).toEqual([]);
    });

    it('lists all there is, in each state, whoever made it', async () => {
      const { place, one, other, engine } = await setUp();
      const [stopped, crashed, frozen, obscure, destroyed] = Array.from({ length: 5 }, place.newEngine);
      if (!stopped || !crashed || !frozen || !obscure || !destroyed)
        throw new Error('five engines are needed');
      for (const spec of [engine, stopped, crashed, frozen, obscure, destroyed]) {
        await created(place, one, spec);
      }
      await one.stop(stopped.engine_id, { epoch: 1 });
      await place.kill(crashed.engine_id);
      await one.freeze(frozen.engine_id, { epoch: 1 });
      await place.obscure(obscure.engine_id);
      await one.destroy(destroyed.engine_id, { epoch: 1 });
      for (const backend of [one, other]) {
        const seen = new Map((await backend.list()).map(({ engine_id, presence }) => [engine_id, presence]));
        expect(seen.size).toBe(5);
        expect(seen.get(engine.engine_id)).toEqual({ state: 'present', epoch: 1, frozen: false });
        expect(seen.get(frozen.engine_id)).toEqual({ state: 'present', epoch: 1, frozen: true });
        expect(seen.get(stopped.engine_id)).toMatchObject({ state: 'absent' });
        expect(seen.get(crashed.engine_id)).toMatchObject({ state: 'absent' });
        expect(seen.get(obscure.engine_id)).toMatchObject({ state: 'unknown' });
      }
    });

    it('names the end of a crashed engine at once, with how it ended', async () => {
      const { place, one, engine, id } = await setUp();
      const exits: EngineExited[] = [];
      one.onExit((exit) => exits.push(exit));
      await answers((await created(place, one, at(engine, 2))).url);
      await one.thaw(id, { epoch: 3 });
      await place.kill(id);
      await until('the exit is told', () => exits.length > 0);
      expect(exits).toMatchObject([{ engine_id: id, epoch: 3, report: { signal: 'SIGKILL' } }]);
      expect((await absence(one, id)).exit).toEqual(exits[0]?.report);
    });

    it('names the end of an engine that another orchestrator started', async () => {
      const { place, one, other, engine, id } = await setUp();
      const exits: EngineExited[] = [];
      await created(place, one, engine);
      const second = place.newEngine();
      await created(place, one, second);
      other.onExit((exit) => exits.push(exit));
      // The one it finds when it looks around, the other when it takes it over.
      await other.is_running(id);
      await other.create(second, forEver);
      await place.kill(id);
      await place.kill(second.engine_id);
      await until('both exits are told', () => exits.length >= 2);
      expect(new Map(exits.map(({ engine_id, epoch }) => [engine_id, epoch]))).toEqual(
        new Map([
          [id, 1],
          [second.engine_id, 1],
        ]),
      );
    });

    it('tells nothing any more to one that does not listen any more', async () => {
      const { place, one, engine, id } = await setUp();
      const heard: string[] = [];
      const stopListening = one.onExit(() => heard.push('one who has left'));
      one.onExit(() => heard.push('one who stays'));
      stopListening();
      await created(place, one, engine);
      await place.kill(id);
      await until('the exit is told', () => heard.length > 0);
      expect(heard).toEqual(['one who stays']);
    });
  });

  it('lets a second orchestrator do everything with what the first has made and left', async () => {
    const { place, one, other, engine, id } = await setUp();
    const { name } = await created(place, one, engine);
    await place.writeData(id, 'what it knows');
    await one.close();
    expect(await place.running(id)).toEqual([name]);
    expect(await other.is_running(id)).toEqual({ state: 'present', epoch: 1, frozen: false });
    expect(await other.freeze(id, { epoch: 1 })).toBe(true);
    expect(await other.thaw(id, { epoch: 2 })).toBe(true);
    expect(await place.running(id)).toEqual([name]);
    await other.create(at(engine, 3), forEver);
    expect(await place.readData(id)).toBe('what it knows');
    await other.stop(id, { epoch: 3 });
    expect(await place.running(id)).toEqual([]);
    await other.destroy(id, { epoch: 3 });
    expect(await place.traces(engine)).toEqual([]);
  });
}
