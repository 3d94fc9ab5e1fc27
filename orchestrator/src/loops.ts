/**
 * Background loops: work that is done again and again, by whichever orchestrator is there.
 *
 * A loop is level-triggered: each run looks at what is there to do, so a run that was missed, failed or was
 * cut off costs nothing but time. It never overlaps itself, an error ends the run and not the loop, and
 * while the database is away it stays quiet: the engines are not ill because of that.
 */
import { OrchestratorError } from './errors.ts';
import type { Clock } from './lifecycle/clock.ts';
import type { Log } from './observe/log.ts';

export type Loop = {
  /** Runs soon instead of at the next turn; while a run is under way, once more right after it. */
  kick(): void;
  /** Resolves after the loop's signal fired and its last run has ended. */
  ended: Promise<void>;
};

export type LoopOptions = {
  name: string;
  /** From the end of one run to the beginning of the next, milliseconds. */
  every_ms: number;
  /** Part of `every_ms` by which the pause varies both ways, 0 to 1: replicas must not march in step. */
  jitter: number;
  run(signal: AbortSignal): Promise<void>;
  clock: Clock;
  log: Log;
  /** Ends the loop. */
  signal: AbortSignal;
  /** A number from 0 to 1. */
  random: () => number;
};

/** Starts a loop; the first run begins at once. */
export function startLoop(options: LoopOptions): Loop {
  const { name, every_ms, jitter, run, clock, log, signal, random } = options;
  let kicked = false;
  let pause = new AbortController();

  async function loop(): Promise<void> {
    while (!signal.aborted) {
      kicked = false;
      try {
        await run(signal);
      } catch (error) {
        if (signal.aborted) return;
        const away = error instanceof OrchestratorError && error.code === 'NOT_READY';
        log[away ? 'debug' : 'error']({ loop: name, err: error }, 'a run of a background loop failed');
      }
      if (kicked) continue;
      pause = new AbortController();
      const wait_ms = every_ms * (1 + jitter * (2 * random() - 1));
      // A pause that is cut short is over; the loop's own signal is looked at next.
      await clock.sleep(wait_ms, AbortSignal.any([signal, pause.signal])).catch(() => undefined);
    }
  }

  return {
    kick() {
      kicked = true;
      pause.abort();
    },
    ended: loop(),
  };
}
