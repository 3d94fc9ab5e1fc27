/** The background loops that keep engines healthy, started together. Each may run in any number of orchestrators. */
import type { Clock } from '../lifecycle/clock.ts';
import { noteExit } from '../lifecycle/presence.ts';
import { type ReconcileDeps, reconciler } from '../lifecycle/reconcile.ts';
import { startLoop } from '../loops.ts';
import { type ProbeDeps, probeDue } from './probes.ts';
import { restarter } from './restarts.ts';

/** How often each looks for what is due, milliseconds; that is one query when there is nothing. */
const TICK_MS = 1_000;
const JITTER = 0.1;

export type HealthDeps = ProbeDeps &
  ReconcileDeps & {
    clock: Clock;
    /** See `LoopOptions`. */
    random: () => number;
  };

/** Starts them; they end with `signal`, and `ended` resolves when the last run has. */
export function startHealth(deps: HealthDeps, signal: AbortSignal): { ended: Promise<void> } {
  const { backend, lifecycle, clock, log } = deps;
  const loop = { every_ms: TICK_MS, jitter: JITTER, clock, log, random: deps.random, signal };

  const stopListening = backend.onExit((exited) => {
    noteExit({ backend, fail: lifecycle.fail }, exited).catch((err) => {
      // The next probe finds it too.
      log.warn({ engine_id: exited.engine_id, err }, 'the end of an engine could not be noted');
    });
  });
  signal.addEventListener('abort', stopListening, { once: true });

  const reconcile = reconciler(deps);
  const compared = Promise.withResolvers<void>();
  const reconciling = startLoop({
    ...loop,
    name: 'reconcile',
    run: (signal) => reconcile(signal).finally(compared.resolve),
  });
  // First the look at what went while nobody looked: to probes it would seem to turn ill in this very minute.
  const others = compared.promise.then(async () => {
    const probing = startLoop({ ...loop, name: 'probes', run: () => probeDue(deps, signal) });
    const restarting = startLoop({
      ...loop,
      name: 'restarts',
      run: restarter(deps, () => restarting.kick()),
    });
    await Promise.all([probing.ended, restarting.ended]);
  });
  return { ended: Promise.all([reconciling.ended, others]).then(() => undefined) };
}
