import { setTimeout as delay } from 'node:timers/promises';

/** Time as the lifecycle sees it, so that a test can drive a whole life of an engine without waiting. */
export type Clock = {
  /** Milliseconds; only differences mean something. */
  now(): number;
  /** Milliseconds since 1970, to compare with what others say; may be set back. */
  wall(): number;
  /** Resolves after `ms`; rejects when `signal` fires. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
};

export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  sleep: async (ms, signal) => {
    await delay(ms, undefined, { signal });
  },
};
