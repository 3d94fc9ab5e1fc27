/**
 * `npm run simulate -- --seed=1 --seeds=1000 --ops=1000`: many runs, on a PostgreSQL of their own, side by
 * side in a few processes. A run whose rules were broken is told with the command that repeats it.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { BUGS, type Bug, isBug } from './bugs.ts';
import { openDatabase } from './database.ts';
import { startPostgres } from './postgres.ts';
import {
  addUp,
  describeTotals,
  describeViolation,
  emptyTotals,
  sum,
  type Totals,
  totalsOf,
} from './report.ts';
import { type RunOptions, run } from './run.ts';

const USAGE = `npm run simulate -- [options]
  --seed=N     first seed (1)
  --seeds=N    how many, one after the other (1)
  --ops=N      client calls in each (1000)
  --jobs=N     processes side by side (2)
  --bug=NAME   leave something out that the lifecycle needs: ${Object.keys(BUGS).join(', ')}
  --show[=U]   print everything that happened, or only what concerns user U (apple/u1)`;

/** Between two lines of progress, milliseconds. */
const PROGRESS_MS = 5_000;

/** What a run is to the process that asked for it. */
type Told = { totals: Totals; report: string | null };

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    ops: { type: 'string', default: '1000' },
    jobs: { type: 'string', default: '2' },
    bug: { type: 'string' },
    show: { type: 'string' },
    help: { type: 'boolean', default: false },
    /** For ourselves: a database on which this process does the runs it is told. */
    worker: { type: 'string' },
  },
  args: process.argv.slice(2).map((argument) => (argument === '--show' ? '--show=' : argument)),
});

if (values.help) {
  console.log(USAGE);
} else if (values.worker !== undefined) {
  work(values.worker);
} else {
  process.exitCode = await simulate();
}

async function simulate(): Promise<number> {
  const [seed, seeds, ops, jobs] = [values.seed, values.seeds, values.ops, values.jobs].map(Number);
  const bug = values.bug ?? null;
  if (!seed || !seeds || !ops || !jobs || (bug !== null && !isBug(bug))) {
    console.error(USAGE);
    return 2;
  }
  const postgres = await startPostgres();
  try {
    const totals = await all(postgres.url, { seed, seeds, ops, jobs: Math.min(jobs, seeds), bug });
    console.log(describeTotals(totals));
    return totals.violations === 0 ? 0 : 1;
  } finally {
    await postgres.stop();
  }
}

type Plan = { seed: number; seeds: number; ops: number; jobs: number; bug: Bug | null };

/** Gives seeds to processes until none is left. */
async function all(url: string, { seed, seeds, ops, jobs, bug }: Plan): Promise<Totals> {
  const totals = emptyTotals();
  const began = performance.now();
  const progress = setInterval(() => {
    const calls = sum(totals.calls);
    const per_s = Math.round(calls / ((performance.now() - began) / 1000));
    const hours = (totals.virtual_s / 3600).toFixed(1);
    console.error(
      `${totals.seeds} of ${seeds} seeds, ${calls} calls (${per_s}/s), ${hours} virtual hours, ${totals.violations} violations`,
    );
  }, PROGRESS_MS);
  let next = seed;
  await Promise.all(
    Array.from({ length: jobs }, async (_, job) => {
      const child = await startWorker(url, `simulation_${job}`);
      while (next < seed + seeds) {
        const options: RunOptions = { seed: next, ops, bug };
        next += 1;
        const told = await tell(child, options);
        addUp(totals, told.totals);
        if (told.report !== null) console.log(told.report);
      }
      child.disconnect();
    }),
  ).finally(() => clearInterval(progress));
  return totals;
}

async function startWorker(url: string, database: string): Promise<ChildProcess> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`CREATE DATABASE ${database}`);
  await client.end();
  const own = new URL(url);
  own.pathname = `/${database}`;
  const show = values.show === undefined ? [] : [`--show=${values.show}`];
  return fork(import.meta.filename, [`--worker=${own.href}`, ...show]);
}

function tell(child: ChildProcess, options: RunOptions): Promise<Told> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null) =>
      reject(new Error(`seed ${options.seed} ended its process (${code})`));
    child.once('exit', ended);
    child.once('message', (told: Told) => {
      child.off('exit', ended);
      resolve(told);
    });
    child.send(options);
  });
}

/** Does the runs that it is told, one after the other. It listens from the first moment, or would miss the first. */
function work(url: string): void {
  const opening = openDatabase(url);
  process.once('disconnect', () => void opening.then((database) => database.end()));
  process.on('message', async (options: RunOptions) => {
    const result = await run(await opening, options);
    const { show } = values;
    if (show !== undefined) console.log(result.trace.lines(show || null).join('\n'));
    const told: Told = { totals: totalsOf(result), report: describeViolation(options, result) };
    process.send?.(told);
  });
}
