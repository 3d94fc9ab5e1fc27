/**
 * The engines of a run: processes that boot, serve turns, hang, crash; brains that must survive; ports.
 * They behave as the Engine's contract says, and come to harm as the faults will have it.
 */
import { EngineExit } from '@september/contract';
import type { Faults } from './faults.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';
import type { Trace } from './trace.ts';
import type { Witness } from './witness.ts';

export type Exit = { code: number | null; signal: string | null };
type Turn = { since: number; ends_at: number; end: (how: 'done' | 'cut') => void };

export type EngineProcess = {
  readonly engine_id: string;
  epoch: number;
  readonly port: number;
  readonly key_hash: string;
  readonly image: string;
  readonly since: number;
  state: 'booting' | 'serving' | 'ill' | 'hung' | 'ended';
  frozen: boolean;
  /** What falls due while it is frozen waits here. */
  held: (() => void)[];
  turns: Set<Turn>;
  used_at: number;
  /** When it last told what goes on in it. */
  told_at: number;
  ended: Promise<Exit>;
  end: (exit: Exit) => void;
};

/**
 * The file: how many turns it remembers, the highest epoch that opened it, and the image that wrote it last; `spoilt` by
 * a broken one.
 */
type Brain = { turns: number; epoch: number; image: string; spoilt: boolean };

/** What the place where engines run keeps of one engine. */
export type Place = {
  /** Highest epoch that somebody acted for here. */
  highest: number;
  destroyed: boolean;
  brain: Brain | null;
  /** The copy of its data, and the epoch it was made for. */
  snapshot: { epoch: number; brain: Brain | null } | null;
  processes: EngineProcess[];
};

/** Images are numbered, and the odd ones do not work: they spoil the brain that another has left, and never get healthy. */
/** What orchestrators are configured with. */
export const FIRST_IMAGE = 2;
export const imageOf = (n: number) => `image-${n}`;
const numberOf = (image: string) => Number(image.split('-')[1]);
const isNewer = (image: string, other: string) => numberOf(image) > numberOf(other);
export const isBroken = (image: string) => numberOf(image) % 2 === 1;

type EnginesDeps = { scheduler: Scheduler; random: Random; faults: Faults; witness: Witness; trace: Trace };
export type Engines = ReturnType<typeof createEngines>;

export function createEngines(deps: EnginesDeps) {
  const { scheduler, random, faults, witness, trace } = deps;
  const places = new Map<string, Place>();
  /** Ports on which other programs listen. */
  const strangers = new Set<number>();
  const exitListeners = new Set<(process: EngineProcess, exit: Exit) => void>();

  function placeOf(engine_id: string): Place {
    let place = places.get(engine_id);
    if (place === undefined) {
      place = { highest: 0, destroyed: false, brain: null, snapshot: null, processes: [] };
      places.set(engine_id, place);
    }
    return place;
  }

  const all = () => [...places.values()].flatMap(({ processes }) => processes);
  const listening = (port: number) => all().find((one) => one.port === port && one.state !== 'booting');

  /** Does `what` in `ms`, unless it has ended; later, where it is frozen then. */
  function later(process: EngineProcess, ms: number, what: () => void): void {
    scheduler.after(ms, () => {
      if (process.state === 'ended') return;
      if (process.frozen) process.held.push(what);
      else what();
    });
  }

  function spawn(
    engine_id: string,
    epoch: number,
    port: number,
    { key_hash, image }: { key_hash: string; image: string },
  ): EngineProcess {
    const { promise: ended, resolve } = Promise.withResolvers<Exit>();
    const process: EngineProcess = {
      engine_id,
      epoch,
      port,
      key_hash,
      image,
      since: scheduler.now(),
      state: 'booting',
      frozen: false,
      held: [],
      turns: new Set(),
      used_at: scheduler.now(),
      told_at: 0,
      ended,
      end: resolve,
    };
    placeOf(engine_id).processes.push(process);
    witness.began(engine_id, epoch);
    trace.note(engine_id, `process of epoch ${epoch}, ${image}, begins on port ${port}`);
    if (faults.roll('engine: port taken')) occupy(port);
    const boot_ms = faults.roll('engine: boot slow')
      ? random.between(3_000, 30_000)
      : random.between(50, 900);
    later(process, boot_ms, () => boot(process));
    return process;
  }

  function boot(process: EngineProcess): void {
    const { engine_id } = process;
    if (faults.roll('engine: boot hangs')) {
      process.state = 'hung';
      trace.note(engine_id, 'hangs in its boot');
      return;
    }
    const code = whyNot(process);
    if (code !== null) {
      exit(process, { code, signal: null });
      return;
    }
    const place = placeOf(engine_id);
    place.brain ??= { turns: 0, epoch: 0, image: process.image, spoilt: false };
    if (isNewer(place.brain.image, process.image)) {
      witness.violation('upgrades', engine_id, `${process.image} has a brain of ${place.brain.image}`);
    }
    if (isBroken(process.image) && place.brain.image !== process.image) place.brain.spoilt = true;
    place.brain.image = process.image;
    const other = place.processes.find((one) => one !== process && one.state !== 'booting');
    if (other !== undefined) {
      witness.violation(
        'one process',
        engine_id,
        `epochs ${other.epoch} and ${process.epoch} have the brain open`,
      );
    }
    place.brain.epoch = process.epoch;
    if (place.brain.spoilt) {
      process.state = 'hung';
      trace.note(engine_id, 'has the brain, and never gets healthy');
      return;
    }
    process.state = 'serving';
    process.used_at = scheduler.now();
    trace.note(engine_id, `serves at epoch ${process.epoch}`);
  }

  /** The code with which it gives up its boot; null when it does not. */
  function whyNot({ engine_id, epoch, port }: EngineProcess): number | null {
    if (faults.roll('engine: boot fails')) return 1;
    if (strangers.has(port) || listening(port) !== undefined) return EngineExit.PORT_TAKEN;
    return (placeOf(engine_id).brain?.epoch ?? 0) > epoch ? EngineExit.STALE_EPOCH : null;
  }

  function exit(process: EngineProcess, how: Exit): void {
    if (process.state === 'ended') return;
    const { engine_id } = process;
    process.state = 'ended';
    const place = placeOf(engine_id);
    place.processes = place.processes.filter((one) => one !== process);
    witness.ended(engine_id);
    trace.note(engine_id, `process of epoch ${process.epoch} ends (${how.signal ?? how.code})`);
    for (const turn of process.turns) turn.end('cut');
    process.end(how);
    for (const listener of exitListeners) listener(process, how);
  }

  function occupy(port: number): void {
    if (listening(port) !== undefined) return;
    strangers.add(port);
    scheduler.after(random.between(5_000, 60_000), () => strangers.delete(port));
  }

  function thaw(process: EngineProcess): void {
    process.frozen = false;
    const { held } = process;
    process.held = [];
    for (const what of held) if (process.state !== 'ended') what();
  }

  return {
    places,
    placeOf,
    spawn,
    exit,
    thaw,
    onExit: (listener: (process: EngineProcess, exit: Exit) => void) => void exitListeners.add(listener),
    at: (port: number) => listening(port) ?? (strangers.has(port) ? 'stranger' : null),
    strangersLeave: () => strangers.clear(),
    serving: () => all().filter(({ state }) => state === 'serving'),

    /** SIGTERM, turns may end, SIGKILL after the grace. */
    async terminate(process: EngineProcess, grace_s: number): Promise<void> {
      thaw(process);
      const { state, turns } = process;
      if (state !== 'ended') {
        const now = scheduler.now();
        const willing_ms = Math.max(
          random.between(10, 400),
          ...[...turns].map(({ ends_at }) => ends_at - now),
        );
        const kill_ms = grace_s * 1000;
        const killed = state === 'hung' || willing_ms > kill_ms;
        scheduler.after(killed ? kill_ms : willing_ms, () =>
          exit(process, killed ? { code: null, signal: 'SIGKILL' } : { code: 0, signal: null }),
        );
      }
      await process.ended;
    },

    /** A turn of `ms`; it resolves when it is done, or cut by the end of its process. Null where nobody answers. */
    turn(process: EngineProcess, ms: number): Promise<'done' | 'cut'> | null {
      if (process.state !== 'serving') return null;
      const { promise, resolve } = Promise.withResolvers<'done' | 'cut'>();
      const turn: Turn = {
        since: scheduler.now(),
        ends_at: scheduler.now() + ms,
        end(how) {
          process.turns.delete(turn);
          const { brain } = placeOf(process.engine_id);
          if (how === 'done' && brain !== null) brain.turns += 1;
          resolve(how);
        },
      };
      process.turns.add(turn);
      process.used_at = scheduler.now();
      trace.note(process.engine_id, `a turn of ${Math.round(ms)} ms begins`);
      later(process, ms, () => {
        process.used_at = scheduler.now();
        turn.end('done');
      });
      return promise;
    },
  };
}
