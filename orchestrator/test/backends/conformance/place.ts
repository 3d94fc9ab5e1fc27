/**
 * Where a backend under test keeps its engines, and what a test does there behind its back. Everything is
 * read from the place itself, never asked of the backend, so that a backend cannot testify for itself.
 */
import { onTestFinished } from 'vitest';
import { type Backend, type EngineSpec, StaleEpoch } from '../../../src/backends/contract.ts';
import type { Failpoint, HitFailpoint } from '../../../src/failpoints.ts';
import type { StandInBehaviour } from '../../support/stand_in_engine.ts';

export type Place = {
  /** Another backend on this place: another orchestrator's, or the same one's after a restart. `hit` may throw. */
  open(hit?: HitFailpoint): Backend;
  /**
   * One call by an orchestrator in a process of its own, to its end or until that process dies at `dies_at`. This
   * process stands still meanwhile, whatever it is in the middle of. `refused`: as outdated.
   */
  elsewhere(
    act: 'create' | 'stop' | 'destroy' | 'revert',
    engine: EngineSpec,
    dies_at?: Failpoint,
  ): 'done' | 'refused' | 'died';
  /** The failpoints that the backend has. */
  readonly points: readonly Failpoint[];
  /** A new engine at epoch 1, run by the stand-in program. */
  newEngine(): EngineSpec;
  /** How engines behave that start from now on. */
  behave(behaviour: StandInBehaviour): Promise<void>;
  /** The names of what runs for an engine: one process or container, or none. No name is ever used twice. */
  running(engine_id: string): Promise<string[]>;
  /** Everything there is of an engine, in words: what runs, what is kept, the port it holds. Empty after a destroy. */
  traces(engine: EngineSpec): Promise<string[]>;
  /** Ends whatever runs for an engine, as a crash would; returns once it is gone. */
  kill(engine_id: string): Promise<void>;
  /** Makes it impossible to tell whether the engine runs, until the function it gives is called. */
  obscure(engine_id: string): Promise<() => Promise<void>>;
  /** What the engine prints. */
  output(engine_id: string): Promise<string>;
  /** Puts words into the engine's data; reads them back. */
  writeData(engine_id: string, words: string): Promise<void>;
  readData(engine_id: string): Promise<string>;
  /** Ends and removes everything. */
  dispose(): Promise<void>;
};

export type MakePlace = () => Promise<Place>;

/** A place with the backends of two orchestrators and one engine that nobody has heard of. */
export async function world(makePlace: MakePlace) {
  const place = await makePlace();
  onTestFinished(() => place.dispose());
  const engine = place.newEngine();
  return { place, one: place.open(), other: place.open(), engine, id: engine.engine_id };
}

export const forEver = new AbortController().signal;

export const at = (engine: EngineSpec, epoch: number): EngineSpec => ({ ...engine, epoch });

/** An engine as it is created, and the name of what runs for it. */
export async function created(place: Place, backend: Backend, engine: EngineSpec) {
  const { url } = await backend.create(engine, forEver);
  const [name = 'nothing runs'] = await place.running(engine.engine_id);
  return { url, name };
}

/** Whether a call took effect; it may be refused as outdated, and fail in no other way. */
export async function tookEffect(call: Promise<unknown>): Promise<boolean> {
  try {
    return (await call) !== false;
  } catch (error) {
    if (error instanceof StaleEpoch) return false;
    throw error;
  }
}
