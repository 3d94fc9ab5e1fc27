import type { StreamEvent } from '../types.ts';
import { HeraldError } from './contract.ts';
import type { Failure } from './failure.ts';
import type { Clock } from './timing.ts';

/**
 * Trying a model call again, where nobody can see that it was (engine-runtime, section 7).
 *
 * The line is the first event: before it a failed try has shown nothing and may be repeated in silence; after
 * it the events are out, and only the caller can declare them void. So from the first event on a failure goes
 * to the caller, marked `visible`.
 */

/** Tries of one call of a model in all. */
export const MAX_TRIES = 3;
/** First pause, milliseconds; it doubles with each try. */
const BACKOFF_BASE_MS = 1000;
/** Longest pause a provider may ask for, seconds. A person is waiting; past this they are told instead. */
const MAX_RETRY_AFTER_S = 60;

type RetryOptions = {
  max_tries: number;
  explain(error: unknown): Failure;
  provider: string;
  clock: Clock;
  signal: AbortSignal;
};

/**
 * Runs `attempt` until one gets through.
 * @throws HeraldError when it failed for good; `signal.reason` when the caller gave up.
 */
export async function* withRetries(
  attempt: () => AsyncIterable<StreamEvent>,
  { max_tries, explain, provider, clock, signal }: RetryOptions,
): AsyncGenerator<StreamEvent> {
  for (let tries = 1; ; tries++) {
    let visible = false;
    try {
      for await (const event of attempt()) {
        visible = true;
        yield event;
      }
      return;
    } catch (error) {
      signal.throwIfAborted();
      const failure = explain(error);
      const { retry_after = 0 } = failure;
      const isFinal = visible || !failure.retryable || tries === max_tries || retry_after > MAX_RETRY_AFTER_S;
      if (isFinal) throw toHeraldError(failure, provider, visible);
      await clock.wait(pause(tries, retry_after, clock.random()), signal);
    }
  }
}

/**
 * Milliseconds before the next try. Half of the backoff is chance, and so is a second on top of `Retry-After`:
 * a thousand Engines on one provider key must not come back in the same instant.
 */
function pause(tries: number, retry_after: number, chance: number): number {
  if (retry_after > 0) return retry_after * 1000 + chance * BACKOFF_BASE_MS;
  return BACKOFF_BASE_MS * 2 ** (tries - 1) * (0.5 + chance / 2);
}

function toHeraldError(failure: Failure, provider: string, visible: boolean): HeraldError {
  const { code, message, status, retry_after, cause } = failure;
  const details = {
    provider,
    ...(status !== undefined && { status }),
    ...(retry_after !== undefined && { retry_after }),
  };
  return new HeraldError(code, message, { visible, details, cause });
}
