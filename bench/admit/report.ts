/** What came out of the admit benchmark, as the table of docs/performance.md. */
import { type Measured, quantile } from '../support/measure.ts';
import { machine, spread, writeReport } from '../support/page.ts';

/** What was measured in one round, one system after the other. */
export type Round = { select: Measured; bare: Measured; admit: Measured; limited: Measured };
export type AdmitResults = { fleet: number; concurrency: number; rounds: Round[] }[];

/** bap-engine's goal against the bare HTTP server: at most this many times its p50, at least this much of its rate. */
const GOAL = { p50: 1.3, rps: 0.75 };
const SYSTEMS = {
  select: '(a) SELECT',
  bare: '(b) bare HTTP server',
  admit: 'admit',
  limited: 'admit, rate limit',
} as const satisfies Record<keyof Round, string>;

export async function writeAdmitReport(results: AdmitResults): Promise<void> {
  const rows = results.flatMap(({ fleet, concurrency, rounds }) =>
    (['select', 'bare', 'admit', 'limited'] as const).map((system) => {
      const of = (read: (measured: Measured) => number) => rounds.map((round) => read(round[system]));
      const toBare = (read: (measured: Measured) => number) =>
        rounds.map((round) => read(round[system]) / read(round.bare));
      const against =
        system === 'select' || system === 'bare'
          ? ['', '', '']
          : [
              spread(
                toBare(({ p50 }) => p50),
                2,
              ),
              spread(
                toBare(({ p99 }) => p99),
                2,
              ),
              spread(
                toBare(({ rps }) => rps),
                2,
              ),
            ];
      return [
        fleet.toLocaleString('en'),
        String(concurrency),
        SYSTEMS[system],
        spread(
          of(({ p50 }) => p50),
          2,
        ),
        spread(
          of(({ p99 }) => p99),
          1,
        ),
        spread(
          of(({ rps }) => rps),
          0,
        ),
        ...against,
      ];
    }),
  );
  const shares = results.flatMap(({ rounds }) =>
    rounds.flatMap(({ bare, admit, limited }) => [bare, admit, limited].map((one) => one.client_share)),
  );
  const head = [
    'engines',
    'at once',
    'system',
    'p50 ms',
    'p99 ms',
    'answers/s',
    'p50 / (b)',
    'p99 / (b)',
    'rate / (b)',
  ];
  const table = [head, head.map((_, n) => (n === 2 ? '---' : '---:')), ...rows]
    .map((row) => `| ${row.join(' | ')} |`)
    .join('\n');
  const text = `Goal: p50 at most ${GOAL.p50} × (b), rate at least ${GOAL.rps} × (b). ${verdict(results)} The load generator used at most ${Math.round(100 * Math.max(...shares))} % of a core. ${machine()}\n\n${table}`;
  await writeReport('admit', text);
}

function verdict(results: AdmitResults): string {
  const misses = results.flatMap(({ fleet, concurrency, rounds }) =>
    (['admit', 'limited'] as const)
      .filter((system) => {
        const median = (read: (measured: Measured) => number) =>
          quantile(
            rounds.map((round) => read(round[system]) / read(round.bare)).sort((a, b) => a - b),
            0.5,
          );
        return median(({ p50 }) => p50) > GOAL.p50 || median(({ rps }) => rps) < GOAL.rps;
      })
      .map((system) => `${SYSTEMS[system]} at ${concurrency} with ${fleet.toLocaleString('en')} engines`),
  );
  return misses.length === 0 ? 'Reached everywhere.' : `**Not reached**: ${misses.join('; ')}.`;
}
