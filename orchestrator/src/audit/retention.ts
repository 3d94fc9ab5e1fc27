/**
 * The end of audit rows: those older than `ORCH_AUDIT_RETENTION_DAYS` are removed, and what is left still verifies.
 *
 * A chain is shortened from its front, and where it then begins is written down at its head in the same transaction:
 * the number of the first row, and the hash of the one before. That must not become a way to make a change unseen.
 * So a row is removed only after it was verified, and a chain that is broken stays as it is, with the evidence.
 */
import { type Loop, type LoopOptions, startLoop } from '../loops.ts';
import type { Log } from '../observe/log.ts';
import type { Db } from '../registry/db.ts';
import { takeTurn } from '../registry/health.ts';
import { type ChainId, chainPage, firstLink, follows, headOf, linkAfter, of, planForWalk } from './chain.ts';

/** Over all orchestrators one looks in so many seconds; what counts are days. */
const LOOK_EVERY_S = 3_600;
/** Part by which that varies: replicas must not march in step. */
const JITTER = 0.1;
/** Rows removed in one transaction: for that long, some tens of milliseconds, nobody appends to the chain. */
const BATCH = 500;

export type AuditRetentionDeps = Pick<LoopOptions, 'clock' | 'log' | 'random'> & {
  db: Db;
  /** 0: rows are kept for ever. */
  audit_retention_days: number;
};

/** Looks until `signal` fires. */
export function startAuditRetention(deps: AuditRetentionDeps, signal: AbortSignal): Loop {
  const run = (signal: AbortSignal) => removeOldAudit(deps, signal);
  return startLoop({
    ...deps,
    name: 'audit retention',
    every_ms: LOOK_EVERY_S * 1000,
    jitter: JITTER,
    run,
    signal,
  });
}

/** Removes what is too old from every chain, when it is this orchestrator's turn. */
async function removeOldAudit(deps: AuditRetentionDeps, signal: AbortSignal): Promise<void> {
  const { db, log, audit_retention_days: days } = deps;
  if (days === 0 || !(await takeTurn(db, 'audit retention', LOOK_EVERY_S))) return;
  const chains = await db.query<{ product_id: ChainId }>('SELECT product_id FROM audit_chains');
  for (const { product_id } of chains) {
    let removed = BATCH;
    while (removed === BATCH && !signal.aborted) removed = await shorten(db, log, product_id, days);
  }
}

/** Removes up to `BATCH` rows from the front of a chain; gives how many. */
async function shorten(db: Db, log: Log, chain: ChainId, days: number): Promise<number> {
  return await db.tx(async (sql) => {
    await planForWalk(sql);
    const [{ before } = {}] = await sql.query<{ before: string }>(
      'SELECT (extract(epoch FROM now() - make_interval(days => $1)) * 1000000)::bigint AS before',
      [days],
    );
    const head = await headOf(sql, chain, { lock: true });
    if (head === null || before === undefined) return 0;
    let link = firstLink(head);
    let last: string | null = null;
    let old = 0;
    for (const row of await chainPage(sql, chain, null, BATCH)) {
      if (BigInt(row.timestamp_us) >= BigInt(before)) break;
      if (!follows(row, link)) {
        log.error({ product_id: chain, id: row.id }, 'the audit log is broken: verify it; old rows are kept');
        break;
      }
      link = linkAfter(row);
      last = row.id;
      old += 1;
    }
    if (last === null) return 0;
    await sql.query(`DELETE FROM audit_log WHERE ${of(chain)} AND id <= $2`, [chain, last]);
    await sql.query(`UPDATE audit_chains SET first_seq = $2, first_prev_hash = $3 WHERE ${of(chain)}`, [
      chain,
      link.seq,
      link.prev_hash,
    ]);
    return old;
  });
}
