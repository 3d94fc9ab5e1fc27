import type { EngineEnvironment } from '@september/contract';

/**
 * What an engine runs on: one process or container for one engine. Source: bap-engine §8, O12, O15, O22.
 *
 * Every call can be repeated, also by an orchestrator that never saw the first try: what a call makes is
 * found again by engine id and epoch, with nothing but what the backend itself keeps. A call that throws
 * has left the engine in any state between before and after; repeating it is the way out. Nothing here
 * knows the registry.
 *
 * There is no `start`: a start is a `create` with the next epoch, on the same data (O15).
 *
 * Every call carries the epoch its caller works for. The backend keeps the highest it has seen of each engine;
 * a call for a lower one comes too late, has no effect, and throws `StaleEpoch`; freeze and thaw may also say
 * that there is no engine of that epoch.
 */
export type Backend = {
  /** Whether engines need a port of the host. */
  readonly publishes_ports: boolean;

  /**
   * Brings the engine up at `epoch` and returns as soon as its process exists; it is not healthy yet. One of
   * the same epoch that is there already is taken as it is; one of another epoch is ended first: two
   * processes never share a brain. Data of earlier epochs is kept. Once `signal` has fired nothing is brought
   * up any more: a late call must not undo what came after its caller gave up.
   */
  create(spec: EngineSpec, signal: AbortSignal): Promise<EngineEndpoint>;

  /** Ends the engine: SIGTERM, after `grace_s` seconds SIGKILL. Returns once it is gone; fine if it was. Data is kept. */
  stop(engine_id: string, fence: { epoch: number; grace_s?: number }): Promise<void>;

  /** Ends the engine and removes its data, and the copy of it. Fine if there is nothing; nothing can bring it back. */
  destroy(engine_id: string, fence: { epoch: number }): Promise<void>;

  /**
   * Freezes the engine where it stands: no CPU, memory kept, nothing answered, what is sent to it waits. Only
   * an engine of exactly `epoch`; returns whether it is there, and frozen now. Stop, destroy and create take a
   * frozen engine as any other: it is let go on first, so that it hears what is asked of it.
   */
  freeze(engine_id: string, fence: { epoch: number }): Promise<boolean>;

  /**
   * Lets the engine go on, frozen or not, and makes it the engine of `epoch` from now on, as `create` would
   * have made it. That fences a late `freeze` of whoever held an earlier epoch: it would freeze an engine at
   * work. No effect on one of a higher epoch; returns whether there is one of `epoch` now.
   */
  thaw(engine_id: string, fence: { epoch: number }): Promise<boolean>;

  /**
   * Keeps a copy of the engine's data, in place of the one before; one that breaks off leaves that. The engine does not
   * run. Asked again for the same epoch it has been done. `image`: one that is known to work, where copying needs one.
   */
  snapshot(engine_id: string, copy: { epoch: number; image: string }): Promise<void>;

  /**
   * Makes the engine's data what the copy holds, which stays; false where there is none. The engine does not run, and
   * nothing may bring it up before this has been done to its end: one that breaks off may have done a half.
   */
  revert(engine_id: string, copy: { epoch: number; image: string }): Promise<boolean>;

  /** Removes the copy; fine if there is none. */
  forget(engine_id: string, fence: { epoch: number }): Promise<void>;

  /** Is it there? `unknown` is an answer: nothing is ended or started because of it (O12). */
  is_running(engine_id: string): Promise<Presence>;

  /**
   * Everything the backend has of engines, also of those that this orchestrator did not start: what stands,
   * what is only data by now (absent), and what cannot be made out (unknown).
   */
  list(): Promise<{ engine_id: string; presence: Presence }[]>;

  /** Tells of each process that ends, also when it was meant to; gives the way to stop telling. */
  onExit(listener: (exit: EngineExited) => void): () => void;

  /** Lets go of what the backend itself holds; engines stay. */
  close(): Promise<void>;
};

export type EngineSpec = {
  engine_id: string;
  epoch: number;
  /** Port of the host; null where the backend publishes none. */
  port: number | null;
  image: string;
  /** What the engine is told beside where it listens and keeps things, which the backend knows. */
  environment: Pick<EngineEnvironment, 'ENGINE_KEY_HASH'> & Record<string, string>;
};

/**
 * Where the engine answers. `url` is the one products get, `host_url` what this machine may use as well, where a port
 * of it is published and `url` is not that already (O14).
 */
export type EngineEndpoint = {
  host: string;
  port: number;
  container_id: string | null;
  url: string;
  host_url: string | null;
};

export type Presence =
  | { state: 'present'; epoch: number; frozen: boolean }
  /** `exit`: how its last process ended, where the backend saw it. */
  | { state: 'absent'; exit: EngineExitReport | null }
  | { state: 'unknown'; reason: string };

/** `epoch`: of the process that ended. */
export type EngineExited = { engine_id: string; epoch: number; report: EngineExitReport };

/** `code` is one of `EngineExit` or any other; null after a signal, or where nobody could see it. `last_words`: the end of its log, for people. */
export type EngineExitReport = { code: number | null; signal: string | null; last_words: string | null };

/** The caller is outdated: somebody has acted on this engine for a newer epoch, or destroyed it. */
export class StaleEpoch extends Error {
  override name = 'StaleEpoch';

  constructor(epoch: number, highest: number | 'destroyed') {
    const why = highest === 'destroyed' ? 'it has been destroyed' : `epoch ${highest} has been seen`;
    super(`Nothing is done to the engine for epoch ${epoch}: ${why}.`);
  }
}

/** Another program of the host has the port; `create` has brought nothing up, and another port will help. */
export class PortUnavailable extends Error {
  override name = 'PortUnavailable';

  constructor(port: number) {
    super(`Port ${port} of the host is taken by another program.`);
  }
}

/** Something outside stands in the way, or stays away. `message` is for people, and holds no secret. */
export class BackendFault extends Error {
  override name = 'BackendFault';
}

/** How long an engine may take to finish its turns after SIGTERM, seconds. Bap-engine §5.4, "Stop". */
export const STOP_GRACE_S = 30;
