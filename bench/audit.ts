/**
 * `npm run bench -- audit`: a million rows of the audit log, appended as the orchestrator appends them, verified, one
 * of them altered, and found.
 *
 * The floors are taken from the same rows: the bare SELECT of every column in one statement, and the same in the
 * verifier's pages, by the same driver. What lies between them and the verifier is the hashing and comparing of rows.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { chainPage, planForWalk } from '../orchestrator/src/audit/chain.ts';
import { type AuditVerdict, verifyAudit } from '../orchestrator/src/audit/verify.ts';
import { type Db, openDb } from '../orchestrator/src/registry/db.ts';
import { startEmbeddedPostgres } from '../orchestrator/src/registry/embedded_postgres.ts';
import { migrate } from '../orchestrator/src/registry/migrate.ts';
import { writeReport } from './support/page.ts';

const ROWS = 1_000_000;
const QUICK_ROWS = 20_000;
/** Rows of one transaction: few enough for the time that a statement may take on a busy machine. */
const BATCH = 200;
/** Chains, that is products. */
const CHAINS = 10;
/** Rows of a page of the floor, as the verifier has them. */
const PAGE = 1_000;

export async function benchAudit({ quick }: { quick: boolean }): Promise<void> {
  const rows = quick ? QUICK_ROWS : ROWS;
  const folder = await mkdtemp(join(tmpdir(), 'bench-audit-'));
  const postgres = await startEmbeddedPostgres({ folder: join(folder, 'postgres') });
  const db = openDb(postgres.url, (error) => console.error(error.message));
  try {
    await migrate(db);
    const appended = await timed(() => append(db, rows));
    await db.query('ANALYZE audit_log');
    const chains = await chainIds(db);
    const selected = await timed(() => selectAll(db));
    const paged = await timed(() => selectPages(db, chains));
    const whole = await timed(() => verifyAudit(db));
    expectVerdict(whole.result, { rows, broken: 0 });
    // The last but one of the last chain: all before it has to be read until it is found.
    const [victim] = await db.query<{ id: string }>(
      `UPDATE audit_log SET actor = 'somebody else' WHERE id = (
         SELECT id FROM audit_log WHERE product_id = $1 ORDER BY id DESC LIMIT 1 OFFSET 1) RETURNING id`,
      [chains.at(-1)],
    );
    const broken = await timed(() => verifyAudit(db));
    expectVerdict(broken.result, { broken: 1 });
    const [found] = broken.result.broken;
    if (found?.id !== Number(victim?.id))
      throw new Error(`row ${victim?.id} was altered, ${found?.id} named`);
    const text = report({ rows, appended, selected, paged, whole, broken, why: found.why });
    console.log(text);
    if (!quick) await writeReport('audit', text);
  } finally {
    await db.end();
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function timed<T>(work: () => Promise<T>): Promise<{ result: T; seconds: number }> {
  const began = performance.now();
  const result = await work();
  return { result, seconds: (performance.now() - began) / 1000 };
}

/** By the function that every row goes through; the chains side by side, as products write. */
async function append(db: Db, rows: number): Promise<void> {
  const chains = Array.from(
    { length: CHAINS },
    (_, n) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
  );
  const share = rows / CHAINS;
  await Promise.all(
    chains.map(async (chain) => {
      for (let from = 0; from < share; from += BATCH) {
        await db.query(
          `SELECT append_audit(now(), $1, 'user-' || n, gen_random_uuid(), 'provision', 'bench',
                               jsonb_build_object('operation_id', gen_random_uuid(), 'outcome', 'succeeded',
                                                  'epoch', 1, 'boot_duration_ms', n % 5000), n % 5000)
             FROM generate_series($2::int, $3::int) AS n`,
          [chain, from + 1, from + BATCH],
        );
      }
    }),
  );
}

const chainIds = async (db: Db) => {
  const rows = await db.query<{ product_id: string }>(
    'SELECT product_id FROM audit_chains WHERE product_id IS NOT NULL ORDER BY product_id',
  );
  return rows.map(({ product_id }) => product_id);
};

/** Reads the log as it lies there, and looks at nothing: rows are counted and forgotten, some at a time. */
async function selectAll(db: Db): Promise<void> {
  await db.tx(async (sql) => {
    await sql.query('DECLARE whole CURSOR FOR SELECT * FROM audit_log');
    while ((await sql.query(`FETCH ${PAGE} FROM whole`)).length > 0);
  });
}

/** Reads what the verifier reads, as it reads it. */
async function selectPages(db: Db, chains: readonly string[]): Promise<void> {
  for (const chain of chains) {
    await db.tx(async (sql) => {
      await planForWalk(sql);
      let after: string | null = null;
      do {
        const page = await chainPage(sql, chain, after, PAGE);
        after = page.length < PAGE ? null : (page.at(-1)?.id ?? null);
      } while (after !== null);
    });
  }
}

function expectVerdict(verdict: AuditVerdict, expected: { rows?: number; broken: number }): void {
  if (verdict.broken.length !== expected.broken || (expected.rows ?? verdict.rows) !== verdict.rows) {
    throw new Error(`an unexpected verdict: ${JSON.stringify(verdict)}`);
  }
}

type Timed = { seconds: number };

function report(measured: {
  rows: number;
  appended: Timed;
  selected: Timed;
  paged: Timed;
  whole: Timed;
  broken: Timed;
  why: string;
}): string {
  const { rows, appended, selected, paged, whole, broken, why } = measured;
  const row = (what: string, { seconds }: Timed) =>
    `| ${what} | ${seconds.toFixed(1)} | ${((seconds / rows) * 1e6).toFixed(1)} | ${(seconds / selected.seconds).toFixed(2)} |`;
  return [
    `${rows.toLocaleString('en')} rows in ${CHAINS} chains; load average ${loadavg()[0]?.toFixed(1)} at the end.`,
    '',
    '| what | s | µs a row | / (a) |',
    '| --- | ---: | ---: | ---: |',
    row('(a) bare SELECT of all columns', selected),
    row("(b) the same in the verifier's pages", paged),
    row('the verifier, nothing broken', whole),
    row('the verifier, one row altered near the end', broken),
    row(`append, ${BATCH.toLocaleString('en')} to a transaction`, appended),
    '',
    `The altered row was named: "${why}"`,
  ].join('\n');
}
