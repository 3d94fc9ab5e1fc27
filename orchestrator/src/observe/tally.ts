/**
 * What this process has done since its start, counted where it is done and read by GET /metrics/prometheus.
 *
 * Every label has few values: a product, a kind, a word. Never a user or an engine: each new value is a new series
 * that the monitoring keeps, and a fleet has hundreds of thousands of them.
 */
import type { Family, Labels, Sample } from './exposition.ts';

/** Upper bounds of the durations, seconds: from a wake out of a doze to the deadline of a removal. */
const DURATION_BOUNDS_S = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 90];

export type Tally = {
  /** `failed`: granted by policy and state, but the engine did not come up. */
  admit(product: string, outcome: 'granted' | 'denied' | 'limited' | 'failed'): void;
  probe(health: 'ok' | 'reduced' | 'ill'): void;
  /** `duration_s`: from the operation's beginning to its end, whoever worked on it in between. */
  operation(kind: string, outcome: string, duration_s: number): void;
  families(): Family[];
};

export function createTally(): Tally {
  const admits = createCounter();
  const probes = createCounter();
  const operations = createCounter();
  const durations = createHistogram(DURATION_BOUNDS_S);
  return {
    admit: (product, outcome) => admits.add({ product, outcome }),
    probe: (health) => probes.add({ health }),
    operation(kind, outcome, duration_s) {
      operations.add({ kind, outcome });
      durations.add({ kind }, duration_s);
    },
    families: () => [
      {
        name: 'orch_admits_total',
        type: 'counter',
        help: 'Admits this process has answered: granted, denied, limited by the rate, or failed.',
        samples: admits.samples(),
      },
      {
        name: 'orch_probes_total',
        type: 'counter',
        help: 'Probes this process has made, by what they found.',
        samples: probes.samples(),
      },
      {
        name: 'orch_operations_total',
        type: 'counter',
        help: 'Operations this process has ended. Restarts are of kind restart.',
        samples: operations.samples(),
      },
      {
        name: 'orch_operation_duration_seconds',
        type: 'histogram',
        help: 'From the beginning of an operation to its end, for those this process has ended.',
        samples: durations.samples(),
      },
    ],
  };
}

function createCounter() {
  const values = new Map<string, { labels: Labels; value: number }>();
  return {
    add(labels: Labels, by = 1): void {
      const key = Object.values(labels).join('\n');
      const one = values.get(key) ?? { labels, value: 0 };
      one.value += by;
      values.set(key, one);
    },
    samples: (): Sample[] => [...values.values()].map((one) => ({ ...one })),
  };
}

function createHistogram(bounds: readonly number[]) {
  const all = [...bounds, Number.POSITIVE_INFINITY];
  const series = new Map<string, { labels: Labels; counts: number[]; sum: number }>();
  return {
    add(labels: Labels, value: number): void {
      const key = Object.values(labels).join('\n');
      const one = series.get(key) ?? { labels, counts: all.map(() => 0), sum: 0 };
      // A bucket counts whatever is up to its bound, so also what is in the ones before.
      one.counts = one.counts.map((count, n) => count + (value <= (all[n] ?? 0) ? 1 : 0));
      one.sum += value;
      series.set(key, one);
    },
    samples: (): Sample[] =>
      [...series.values()].flatMap(({ labels, counts, sum }) => [
        ...counts.map((value, n) => ({
          suffix: '_bucket',
          labels: { ...labels, le: n === bounds.length ? '+Inf' : String(bounds[n]) },
          value,
        })),
        { suffix: '_sum', labels, value: sum },
        { suffix: '_count', labels, value: counts.at(-1) ?? 0 },
      ]),
  };
}
