import { setTimeout as sleep } from 'node:timers/promises';

/** Time, waiting and chance as the model layer needs them; a test brings its own. */
export type Clock = {
  /** Unix milliseconds. */
  now(): number;
  /** Resolves after `ms` milliseconds; rejects with `signal.reason` at once when the signal aborts. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  /** 0 up to, not including, 1. */
  random(): number;
};

export const systemClock: Clock = {
  now: Date.now,
  async wait(ms, signal) {
    // timers/promises rejects with an AbortError of its own; callers are promised the signal's reason.
    await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
  },
  random: Math.random,
};
