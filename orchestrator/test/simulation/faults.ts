/**
 * What goes wrong in a run, by kind: how often, and how often it did. Some runs are calm and some are stormy,
 * and each prefers some kinds of faults over others; so that not every run is the same mixture.
 */
import type { Random } from './random.ts';

/** Per opportunity: a call, a statement, a boot, a point in the code. */
export const RATES = {
  'backend: call lost': 0.015,
  'backend: answer lost': 0.02,
  'backend: slow': 0.06,
  'backend: call delivered twice': 0.04,
  'backend: create fails': 0.02,
  'backend: copy fails': 0.05,
  'backend: presence unknown': 0.3,
  'backend: list fails': 0.03,
  'backend: list stale': 0.06,
  'backend: list partial': 0.3,
  'backend: exit told late': 0.15,
  'backend: exit not told': 0.1,
  'engine: boot fails': 0.04,
  'engine: boot hangs': 0.05,
  'engine: boot slow': 0.06,
  'engine: port taken': 0.02,
  'network: answer lost': 0.02,
  'network: slow': 0.04,
  'database: slow': 0.01,
  'database: reply lost': 0.003,
  'database: transaction cut': 0.004,
  'replica: killed at a failpoint': 0.004,
  'replica: frozen at a failpoint': 0.008,
  'client: gives up': 0.02,
} as const;

/** In each second of a storm. */
export const RATES_PER_S = {
  'engine: crashes': 0.1,
  'engine: hangs': 0.03,
  'engine: is ill': 0.04,
  'engine: many crash at once': 0.005,
  'network: an engine out of reach': 0.02,
  'database: away': 0.01,
  'replica: killed': 0.02,
  'replica: frozen': 0.03,
  'replica: stopped': 0.01,
  'replica: lock lost': 0.01,
} as const;

export type FaultKind = keyof typeof RATES;
export type TimedFaultKind = keyof typeof RATES_PER_S;

export type Faults = {
  /** Whether it happens, now. */
  roll(kind: FaultKind): boolean;
  /** Which of these happen in this second. */
  rollSecond(): TimedFaultKind[];
  /** Without it nothing goes wrong. */
  storm(on: boolean): void;
  counts: Map<string, number>;
};

export function createFaults(random: Random): Faults {
  // Squared: most runs are rather calm, a few are three times as bad as the rates above.
  const strength = 3 * random.next() ** 2;
  const preference = new Map<string, number>();
  for (const kind of [...Object.keys(RATES), ...Object.keys(RATES_PER_S)]) {
    preference.set(kind, strength * (random.chance(0.25) ? 0 : random.between(0.3, 2)));
  }
  const counts = new Map<string, number>();
  let stormy = false;

  function happens(kind: string, rate: number): boolean {
    if (!stormy || !random.chance(rate * (preference.get(kind) ?? 0))) return false;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
    return true;
  }

  return {
    roll: (kind) => happens(kind, RATES[kind]),
    rollSecond: () =>
      (Object.keys(RATES_PER_S) as TimedFaultKind[]).filter((kind) => happens(kind, RATES_PER_S[kind])),
    storm(on) {
      stormy = on;
    },
    counts,
  };
}
