/**
 * Ends of containers, told the moment the daemon knows: its stream of events, taken up again whenever it breaks.
 *
 * A stream that breaks must not lose what happened meanwhile, so the next one asks for everything since the last event;
 * what comes twice then is told once. A daemon that was restarted remembers nothing; what ended with it is found by the
 * next look of the orchestrator's reconcile.
 */
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import type { DockerApi } from './api.ts';
import { LABEL } from './names.ts';

/** Pause before the stream is asked for again; doubles, milliseconds. */
const FIRST_PAUSE_MS = 100;
/** Longest pause, milliseconds. */
const LONGEST_PAUSE_MS = 5_000;

const DieEvent = z.object({
  timeNano: z.number(),
  Actor: z.object({ ID: z.string(), Attributes: z.record(z.string(), z.string()) }),
});

export type Death = { container_id: string; engine_id: string; labelled_epoch: number; exit_code: number };

/** Tells of each engine's container of `network` that ends, and of each break, until `signal` fires. */
export async function followDeaths(
  docker: DockerApi,
  network: string,
  signal: AbortSignal,
  hear: { death(death: Death): void; broken(error: unknown): void },
): Promise<void> {
  const filters = JSON.stringify({
    type: ['container'],
    event: ['die'],
    label: [`${LABEL.network}=${network}`],
  });
  /** Of the last event, nanoseconds since 1970 by the daemon's clock; of that size their last digits are lost. */
  let last = 0;
  for (let pause = FIRST_PAUSE_MS; !signal.aborted; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
    try {
      const query = { filters, ...(last > 0 && { since: (last / 1e9).toFixed(9) }) };
      const stream = await docker.stream({ method: 'GET', path: '/events', query, signal });
      for await (const line of createInterface({ input: stream })) {
        const { timeNano, Actor } = DieEvent.parse(JSON.parse(line));
        if (timeNano <= last) continue;
        last = timeNano;
        pause = FIRST_PAUSE_MS;
        if (Actor.Attributes[LABEL.copying] !== undefined) continue;
        hear.death({
          container_id: Actor.ID,
          engine_id: Actor.Attributes[LABEL.engine_id] ?? '',
          labelled_epoch: Number(Actor.Attributes[LABEL.epoch]),
          exit_code: Number(Actor.Attributes.exitCode),
        });
      }
    } catch (error) {
      // Whatever broke it: there is nothing to do but to ask again.
      if (!signal.aborted) hear.broken(error);
    }
    await delay(pause, undefined, { signal, ref: false }).catch(() => undefined);
  }
}
