/** What came out of the turn benchmark, as the table of docs/performance.md. */
import { quantile } from '../support/measure.ts';
import { machine, spread, writeReport } from '../support/page.ts';

/** Milliseconds: from the request to the model asked; age of the first piece, and of each later one, at the client. */
type Latencies = { asked: number[]; first: number[]; event: number[] };

export type TurnRound = {
  /** One flush of the disk, milliseconds. */
  flush: number[];
  proxy: Latencies;
  engine: Latencies;
  /** From the tool call written by the model to its next question, less the tool's own time; milliseconds. */
  beside_tool: number[];
  /** From the call to its result, of one that takes a second; from the first call to the last result, of ten; seconds. */
  one_call: number;
  side_by_side: number;
  /** Events a second: of one stream, of the same through the proxy, and by CPU second of the Engine. */
  poured: number;
  poured_proxy: number;
  poured_per_cpu_s: number;
  /** Events a second: of one turn that was written in groups; of 50 turns written event by event. */
  replayed: number;
  replayed_one_by_one: number;
};

export async function writeTurnReport(rounds: TurnRound[]): Promise<void> {
  const row = (what: string, goal: string, p50: string, p95: string, floor: string) =>
    `| ${what} | ${p50} | ${p95} | ${floor} | ${goal} |`;
  const q = (read: (round: TurnRound) => number[], at: number) =>
    rounds.map((round) =>
      quantile(
        read(round).toSorted((a, b) => a - b),
        at,
      ),
    );
  const latency = (what: string, key: keyof Latencies, goal: string) =>
    row(
      what,
      goal,
      spread(
        q(({ engine }) => engine[key], 0.5),
        2,
      ),
      spread(
        q(({ engine }) => engine[key], 0.95),
        2,
      ),
      `${spread(
        q(({ proxy }) => proxy[key], 0.5),
        2,
      )} / ${spread(
        q(({ proxy }) => proxy[key], 0.95),
        2,
      )}`,
    );
  const rate = (read: (round: TurnRound) => number) => spread(rounds.map(read), 0);
  const text = `${rounds.length} rounds. ${machine()}

| milliseconds | p50 | p95 | proxy p50 / p95 | goal p50 / p95 |
| --- | ---: | ---: | ---: | ---: |
${row(
  'floor: a page appended to a file and flushed',
  '',
  spread(
    q(({ flush }) => flush, 0.5),
    2,
  ),
  spread(
    q(({ flush }) => flush, 0.95),
    2,
  ),
  '',
)}
${latency('request to model asked', 'asked', '6 / 15')}
${latency('first text, model to client', 'first', 'proxy + 3 / + 8')}
${latency('every later event, model to client', 'event', '')}
${row(
  'a tool turn, beside the tool',
  '8 /',
  spread(
    q(({ beside_tool }) => beside_tool, 0.5),
    2,
  ),
  spread(
    q(({ beside_tool }) => beside_tool, 0.95),
    2,
  ),
  '',
)}

A call that takes a second: ${spread(
    rounds.map(({ one_call }) => one_call),
    2,
  )} s. Ten of them in one answer: ${spread(
    rounds.map(({ side_by_side }) => side_by_side),
    2,
  )} s, ${spread(
    rounds.map(({ one_call, side_by_side }) => side_by_side / one_call),
    2,
  )} times as long.

| events a second | | goal |
| --- | ---: | ---: |
| one stream, through the proxy | ${rate(({ poured_proxy }) => poured_proxy)} | |
| one stream | ${rate(({ poured }) => poured)} | 20,000 |
| the same, by CPU second of the Engine | ${rate(({ poured_per_cpu_s }) => poured_per_cpu_s)} | |
| replay of a turn | ${rate(({ replayed }) => replayed)} | 300,000 |
| replay of 50 turns whose events were written one by one | ${rate(({ replayed_one_by_one }) => replayed_one_by_one)} | |`;
  await writeReport('turn', text);
}
