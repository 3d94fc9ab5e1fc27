/**
 * A backend as bad as the contract lets it be (backends/contract.ts): calls come late or twice, answers are
 * lost, lists are old or lack something, presence is unknown, ends are told late or not at all. What it does
 * keep is what the contract promises: the fence, one process for an engine, data until a destroy.
 *
 * Each act is watched: whatever an outdated call does to an engine, or a sleep to a turn, is a violation.
 */
import type { Backend, EngineExited, EngineExitReport, Presence } from '../../src/backends/contract.ts';
import { STOP_GRACE_S, StaleEpoch } from '../../src/backends/contract.ts';
import type { EngineProcess, Engines, Place } from './engines.ts';
import type { Faults } from './faults.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';
import type { Trace } from './trace.ts';
import type { Witness } from './witness.ts';

const HOST = '127.0.0.1';
/** An old list is at most as old as this, milliseconds. */
const STALE_MS = 5_000;

/** The backend could not be reached, or its answer was lost. */
class BackendFault extends Error {
  override name = 'BackendFault';
  readonly code = 'ECONNRESET';
}

export type BackendDeps = {
  engines: Engines;
  scheduler: Scheduler;
  random: Random;
  faults: Faults;
  witness: Witness;
  trace: Trace;
  idle_timeout_ms: number;
  /** Whom an engine belongs to is looked up when it is seen first. */
  introduce(engine_id: string): Promise<void>;
  /** False: a backend that forgets its fence; the oracle must find it. */
  fenced: boolean;
};

/** The backend as one replica has it: the place is everybody's, who started what is not. */
export function createBackend(deps: BackendDeps): Backend {
  const { engines, scheduler, random, faults, witness, trace } = deps;
  const { placeOf } = engines;
  const listeners = new Set<(exit: EngineExited) => void>();
  /** How the processes we started ended. */
  const children = new Map<string, { process: EngineProcess; exit: EngineExitReport | null }>();
  let lastList: { at: number; list: { engine_id: string; presence: Presence }[] } = {
    at: -STALE_MS,
    list: [],
  };

  engines.onExit((process, exit) => {
    const child = children.get(process.engine_id);
    const ours = child?.process === process;
    const report = { ...(ours ? exit : { code: null, signal: null }), last_words: null };
    if (ours) child.exit = report;
    if (faults.roll('backend: exit not told')) return;
    const late_ms = faults.roll('backend: exit told late')
      ? random.between(500, 10_000)
      : random.between(5, 500);
    const { engine_id, epoch } = process;
    scheduler.after(late_ms, () => {
      for (const listener of listeners) listener({ engine_id, epoch, report });
    });
  });

  const latency = () => (faults.roll('backend: slow') ? random.between(200, 5_000) : random.between(5, 40));

  /** One call on its way there and back. What it does it does, also when its caller is gone. */
  async function call<T>(engine_id: string, what: string, act: () => Promise<T>, again = true): Promise<T> {
    trace.note(engine_id, `backend: ${what}`);
    await scheduler.sleep(latency());
    if (faults.roll('backend: call lost')) throw new BackendFault(`${what}: connection reset`);
    const result = await act();
    if (again && faults.roll('backend: call delivered twice')) {
      const late = scheduler.sleep(random.between(10, 3_000)).then(act);
      late.catch((error) => trace.note(engine_id, `backend: ${what}, delivered again: ${error}`));
    }
    await scheduler.sleep(latency());
    if (faults.roll('backend: answer lost')) throw new BackendFault(`${what}: answer lost`);
    return result;
  }

  /** From here on lower epochs are refused. */
  function raiseFence(place: Place, epoch: number): void {
    if (place.destroyed && deps.fenced) throw new StaleEpoch(epoch, 'destroyed');
    checkFence(place, epoch);
    place.highest = Math.max(place.highest, epoch);
  }

  function checkFence(place: Place, epoch: number): void {
    if (place.highest > epoch && deps.fenced) throw new StaleEpoch(epoch, place.highest);
  }

  /** What is done now is done for `epoch`. */
  function watchFence(engine_id: string, epoch: number, what: string): void {
    const { highest, destroyed } = placeOf(engine_id);
    if (highest > epoch) witness.violation('fence', engine_id, `${what} for epoch ${epoch} after ${highest}`);
    if (destroyed && what === 'create') witness.violation('fence', engine_id, 'create after destroy');
  }

  /**
   * A healthy engine at work is only ended because somebody wanted that, or held still before the turn came;
   * and one that was given out is not put to sleep within the idle timeout.
   */
  function watchTurns(process: EngineProcess, what: string): void {
    const { engine_id, turns, told_at, state, since } = process;
    const now = scheduler.now();
    if (state === 'serving' && [...turns].some(({ since }) => since < told_at)) {
      const excused =
        what !== 'freeze' && (witness.wishedToEnd(engine_id) || witness.seemedIll(engine_id, now, 120_000));
      if (!excused) witness.violation('turns', engine_id, `a turn in flight is cut by ${what}`);
    }
    const asked_at = witness.admitAskedAt(engine_id);
    if (asked_at === null || asked_at < since || now >= asked_at + deps.idle_timeout_ms) return;
    if (state !== 'serving' || what === 'create') return;
    const excused =
      witness.wishedToEnd(engine_id) ||
      witness.wishedToSleep(engine_id) ||
      witness.seemedIll(engine_id, now, 120_000);
    if (!excused) {
      witness.violation('admission', engine_id, `${what} ${now - asked_at} ms after an admit was asked for`);
    }
  }

  async function endProcess(
    process: EngineProcess,
    epoch: number,
    grace_s: number,
    what: string,
  ): Promise<void> {
    if (process.epoch > epoch && deps.fenced) throw new StaleEpoch(epoch, process.epoch);
    watchFence(process.engine_id, epoch, what);
    watchTurns(process, what);
    await engines.terminate(process, grace_s);
  }

  async function stop(engine_id: string, epoch: number, grace_s: number, what: string): Promise<void> {
    for (const process of placeOf(engine_id).processes) await endProcess(process, epoch, grace_s, what);
    children.delete(engine_id);
  }

  /** The place of an engine whose data is dealt with for `epoch`. */
  async function dataOf(engine_id: string, epoch: number): Promise<Place> {
    await deps.introduce(engine_id);
    const place = placeOf(engine_id);
    raiseFence(place, epoch);
    return place;
  }

  function presenceOf(engine_id: string): Presence {
    const [process] = placeOf(engine_id).processes;
    if (process !== undefined) return { state: 'present', epoch: process.epoch, frozen: process.frozen };
    return { state: 'absent', exit: children.get(engine_id)?.exit ?? null };
  }

  return {
    publishes_ports: true,

    create: ({ engine_id, epoch, port, environment, image }, signal) =>
      call(engine_id, `create epoch ${epoch}`, async () => {
        if (port === null) throw new TypeError('an engine needs a port');
        await deps.introduce(engine_id);
        const place = placeOf(engine_id);
        if (faults.roll('backend: create fails')) throw new BackendFault('no room');
        raiseFence(place, epoch);
        const url = `http://${HOST}:${port}`;
        const endpoint = { host: HOST, port, container_id: null, url, host_url: null };
        const same = place.processes.find((one) => one.epoch === epoch && one.port === port);
        for (const other of place.processes) {
          if (other !== same) await endProcess(other, epoch, STOP_GRACE_S, 'create');
        }
        // Ending the one before took its time.
        if (place.destroyed && deps.fenced) throw new StaleEpoch(epoch, 'destroyed');
        checkFence(place, epoch);
        signal.throwIfAborted();
        watchFence(engine_id, epoch, 'create');
        const standing = place.processes.find((one) => one.epoch === epoch && one.port === port);
        if (standing !== undefined) {
          engines.thaw(standing);
          return endpoint;
        }
        const process = engines.spawn(engine_id, epoch, port, {
          key_hash: environment.ENGINE_KEY_HASH,
          image,
        });
        children.set(engine_id, { process, exit: null });
        return endpoint;
      }),

    stop: (engine_id, { epoch, grace_s = STOP_GRACE_S }) =>
      call(engine_id, `stop epoch ${epoch}`, async () => {
        const place = placeOf(engine_id);
        if (place.destroyed) return;
        raiseFence(place, epoch);
        await stop(engine_id, epoch, grace_s, 'stop');
      }),

    destroy: (engine_id, { epoch }) =>
      call(engine_id, `destroy epoch ${epoch}`, async () => {
        const place = placeOf(engine_id);
        checkFence(place, epoch);
        place.destroyed = true;
        place.highest = Math.max(place.highest, epoch);
        await stop(engine_id, epoch, STOP_GRACE_S, 'destroy');
        if (place.brain !== null && !witness.wishedDestroyed(engine_id)) {
          witness.violation('brain', engine_id, 'removed without a destroy that somebody asked for');
        }
        place.brain = null;
        place.snapshot = null;
      }),

    snapshot: (engine_id, { epoch }) =>
      call(engine_id, `snapshot epoch ${epoch}`, async () => {
        const place = await dataOf(engine_id, epoch);
        if (place.snapshot?.epoch === epoch) return;
        if (place.processes.length > 0) throw new BackendFault('the engine runs');
        const brain = place.brain === null ? null : { ...place.brain };
        await scheduler.sleep(random.between(10, 2_000));
        if (faults.roll('backend: copy fails')) throw new BackendFault('no room');
        checkFence(place, epoch);
        watchFence(engine_id, epoch, 'snapshot');
        place.snapshot = { epoch, brain };
      }),

    revert: (engine_id, { epoch }) =>
      call(engine_id, `revert epoch ${epoch}`, async () => {
        const place = await dataOf(engine_id, epoch);
        if (place.snapshot === null) return false;
        if (place.processes.length > 0) throw new BackendFault('the engine runs');
        await scheduler.sleep(random.between(10, 2_000));
        if (faults.roll('backend: copy fails')) throw new BackendFault('no room');
        checkFence(place, epoch);
        if (place.processes.length > 0) throw new BackendFault('the engine runs');
        watchFence(engine_id, epoch, 'revert');
        const [kept, now] = [place.snapshot.brain?.turns ?? 0, place.brain?.turns ?? 0];
        if (now > kept) witness.violation('upgrades', engine_id, `${now - kept} turns are lost`);
        place.brain = place.snapshot.brain === null ? null : { ...place.snapshot.brain };
        return true;
      }),

    forget: (engine_id, { epoch }) =>
      call(engine_id, `forget epoch ${epoch}`, async () => {
        const place = placeOf(engine_id);
        checkFence(place, epoch);
        if (place.snapshot !== null && place.snapshot.epoch <= epoch) place.snapshot = null;
      }),

    freeze: (engine_id, { epoch }) =>
      call(
        engine_id,
        `freeze epoch ${epoch}`,
        async () => {
          const [process] = placeOf(engine_id).processes;
          if (process === undefined || (process.epoch !== epoch && deps.fenced)) return false;
          watchFence(engine_id, epoch, 'freeze');
          watchTurns(process, 'freeze');
          process.frozen = true;
          trace.note(engine_id, 'stands still');
          return true;
        },
        // A freeze that came after the thaw of the same epoch: no epoch tells the two apart, so a backend must
        // not deliver it again by itself.
        false,
      ),

    thaw: (engine_id, { epoch }) =>
      call(engine_id, `thaw epoch ${epoch}`, async () => {
        const place = placeOf(engine_id);
        const [process] = place.processes;
        if (process === undefined || (process.epoch > epoch && deps.fenced)) return false;
        raiseFence(place, epoch);
        watchFence(engine_id, epoch, 'thaw');
        process.epoch = epoch;
        engines.thaw(process);
        return process.state !== 'ended';
      }),

    async is_running(engine_id) {
      await scheduler.sleep(latency());
      const presence: Presence = faults.roll('backend: presence unknown')
        ? { state: 'unknown', reason: 'the backend does not say' }
        : presenceOf(engine_id);
      await scheduler.sleep(latency());
      return presence;
    },

    async list() {
      await scheduler.sleep(latency());
      if (faults.roll('backend: list fails')) throw new BackendFault('list: connection reset');
      const now = scheduler.now();
      if (now - lastList.at < STALE_MS && faults.roll('backend: list stale')) return lastList.list;
      const there = [...engines.places].filter(
        ([, place]) => place.brain !== null || place.processes.length > 0,
      );
      const list = there.map(([engine_id]) => ({ engine_id, presence: presenceOf(engine_id) }));
      lastList = { at: now, list };
      await scheduler.sleep(latency());
      return faults.roll('backend: list partial') ? list.filter(() => random.chance(0.7)) : list;
    },

    onExit(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    async close() {},
  };
}
