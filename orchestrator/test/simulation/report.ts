/** What runs are told as: sums over many of them, and the story of one whose rules were broken. */
import type { RunOptions, RunResult } from './run.ts';

type Counts = Record<string, number>;

export type Totals = {
  seeds: number;
  virtual_s: number;
  calls: Counts;
  operations: Counts;
  faults: Counts;
  /** Seeds in which a rule was broken. */
  violations: number;
};

/** How much of what happened before a violation is shown, lines. */
const TAIL = 60;

export const emptyTotals = (): Totals => ({
  seeds: 0,
  virtual_s: 0,
  calls: {},
  operations: {},
  faults: {},
  violations: 0,
});

export const totalsOf = (run: RunResult): Totals => ({
  seeds: 1,
  virtual_s: run.virtual_s,
  calls: Object.fromEntries(run.calls),
  operations: Object.fromEntries(run.operations),
  faults: Object.fromEntries(run.faults),
  violations: run.violations.length > 0 ? 1 : 0,
});

export function addUp(totals: Totals, more: Totals): void {
  totals.seeds += more.seeds;
  totals.virtual_s += more.virtual_s;
  totals.violations += more.violations;
  for (const what of ['calls', 'operations', 'faults'] as const) {
    for (const [kind, count] of Object.entries(more[what])) {
      totals[what][kind] = (totals[what][kind] ?? 0) + count;
    }
  }
}

export const sum = (counts: Counts) => Object.values(counts).reduce((all, one) => all + one, 0);

export function describeTotals(totals: Totals): string {
  const { seeds, virtual_s, calls, operations, faults, violations } = totals;
  const block = (title: string, counts: Counts) => [
    `${title}: ${sum(counts)}`,
    ...Object.entries(counts)
      .sort(([a], [b]) => a.localeCompare(b))
      .map(([kind, count]) => `  ${String(count).padStart(9)}  ${kind}`),
  ];
  return [
    '',
    `${seeds} seeds, ${(virtual_s / 3600).toFixed(1)} hours of virtual time`,
    ...block('client calls', calls),
    ...block('durable operations', operations),
    ...block('faults', faults),
    `seeds with a violation: ${violations}`,
  ].join('\n');
}

/** The rule that was broken first, what happened before, and how to see it again; null where none was. */
export function describeViolation(options: RunOptions, { violations, trace }: RunResult): string | null {
  const [first] = violations;
  if (first === undefined) return null;
  const { rule, engine_id, at_ms, what } = first;
  const user = engine_id === null ? null : trace.userOf(engine_id);
  const bug = options.bug ? ` --bug=${options.bug}` : '';
  return [
    '',
    `seed ${options.seed}: "${rule}" is violated at ${at_ms / 1000} s${user === null ? '' : `, engine of ${user}`}: ${what}`,
    ...trace.lines(user, TAIL),
    `again, and whole: npm run simulate -- --seed=${options.seed} --ops=${options.ops}${bug} --show${user === null ? '' : `=${user}`}`,
  ].join('\n');
}
