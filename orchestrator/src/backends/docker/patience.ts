/**
 * A daemon that is away for a moment is no reason to fail: what is asked for is done again from its first step, which
 * finds what the tries before have made. It is one for a long while: who waits has a deadline and wants a reason.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { BackendFault } from '../contract.ts';
import { DockerError } from './api.ts';

/** How long one call is tried, milliseconds: a daemon that is restarted is back by then. */
const PATIENCE_MS = 30_000;
/** Pause before the second try; doubles, milliseconds. */
const FIRST_PAUSE_MS = 50;
/** Longest pause, milliseconds. */
const LONGEST_PAUSE_MS = 2_000;

/**
 * Walks until it succeeds, or `signal` fires, whose reason it throws, or patience ends. What Docker answered then, or
 * refused at once, is thrown as `BackendFault`; anything else passes through.
 */
export async function patiently<T>(walk: () => Promise<T>, signal: AbortSignal): Promise<T> {
  const until = performance.now() + PATIENCE_MS;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    try {
      return await walk();
    } catch (error) {
      if (!(error instanceof DockerError)) throw error;
      if (error.kind === 'refused' || performance.now() >= until) {
        throw new BackendFault(error.message, { cause: error });
      }
    }
    await delay(pause, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
}
