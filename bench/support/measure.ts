/**
 * A closed loop: so many callers, each asks again as soon as it has its answer. The same for every system, so
 * that ratios between them mean something.
 */
import { setTimeout as delay } from 'node:timers/promises';

export type Load = { concurrency: number; warm_up_ms: number; measured_ms: number };

/** `p50`, `p99`: milliseconds; `rps`: answers a second; `client_share`: how much of one core the caller's process used. */
export type Measured = { p50: number; p99: number; rps: number; client_share: number };

/** Runs `ask` under load in this process. `ask` is given the caller's number, and throws when the answer is wrong. */
export async function measure(load: Load, ask: (caller: number) => Promise<void>): Promise<Measured> {
  const latencies: number[] = [];
  let phase: 'warm-up' | 'measured' | 'over' = 'warm-up';
  const callers = Array.from({ length: load.concurrency }, async (_, caller) => {
    while (phase !== 'over') {
      const counted = phase === 'measured';
      const began = performance.now();
      await ask(caller);
      if (counted && phase === 'measured') latencies.push(performance.now() - began);
    }
  });
  const all = Promise.all(callers);
  await Promise.race([all, delay(load.warm_up_ms)]);
  phase = 'measured';
  const [began, cpu] = [performance.now(), process.cpuUsage()];
  await Promise.race([all, delay(load.measured_ms)]);
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  phase = 'over';
  await all;
  latencies.sort((a, b) => a - b);
  return {
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    rps: latencies.length / seconds,
    client_share: (user + system) / 1e6 / seconds,
  };
}

/** Of values in ascending order, at least one. */
export function quantile(ascending: number[], q: number): number {
  const value = ascending[Math.min(ascending.length - 1, Math.floor(q * ascending.length))];
  if (value === undefined) throw new Error('nothing was measured');
  return value;
}
