/**
 * One look for all who ask at the same time.
 *
 * Who asks gets an answer from a look that began after the question: an older one may be of before what he has just done.
 * One look is under way at a time, and the next waits a while that follows from how long the last one took; so looking
 * takes a small share of the daemon's time, whether one engine boots or a thousand.
 */
import { setTimeout as delay } from 'node:timers/promises';

/** Shortest time from the beginning of a look to the next, milliseconds. */
const MIN_PERIOD_MS = 10;
/** The time between two looks, in lengths of the last one. */
const REST = 2;

/** `look` gets everything that is asked about. What it throws, all who asked get. */
export function shareLooks<T>(
  look: (subjects: readonly string[]) => Promise<T>,
): (subject: string) => Promise<T> {
  let waiting: { subjects: Set<string>; result: Promise<T> } | null = null;
  let busy: Promise<unknown> = Promise.resolve();

  async function next(subjects: Set<string>): Promise<T> {
    await busy;
    waiting = null;
    const began = performance.now();
    const result = look([...subjects]);
    busy = result
      .catch(() => undefined)
      .then(() => {
        const took = performance.now() - began;
        return delay(Math.max(MIN_PERIOD_MS - took, REST * took), undefined, { ref: false });
      });
    return await result;
  }

  return (subject) => {
    if (waiting === null) {
      const subjects = new Set<string>();
      waiting = { subjects, result: next(subjects) };
    }
    waiting.subjects.add(subject);
    return waiting.result;
  };
}
