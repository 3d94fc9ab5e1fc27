/**
 * The verifier: walks every chain of the audit log from its first row to its head, computes each hash anew, and
 * names the first row that is not what was written (O20).
 *
 * A chain is read in one snapshot, so rows that are appended or removed by retention meanwhile do no harm, and in
 * pages, so a log of any length fits into memory. What is found is certain; why is a diagnosis: behind the first
 * break nothing can be told any more, so a chain is left there.
 */
import type { Db, Sql } from '../registry/db.ts';
import {
  type ChainedRow,
  type ChainId,
  chainPage,
  firstLink,
  follows,
  hashOf,
  headOf,
  type Link,
  linkAfter,
  of,
  planForWalk,
} from './chain.ts';

/** Rows read at a time: enough to make the round trip cheap, few enough for large metadata. */
const PAGE = 1_000;
/** Broken chains after which the verifier stops: who finds so many will not read more of them. */
export const MAX_BROKEN = 100;

/** What can have happened to a row. */
export type AuditFault =
  | 'altered'
  | 'deleted'
  | 'inserted'
  | 'reordered'
  | 'tail_cut_off'
  | 'head_altered'
  | 'head_missing';

export type BrokenChain = {
  /** Null: the level of the system. */
  product_id: ChainId;
  /** The number in its chain of the first row that is broken; null where that cannot be told. */
  seq: number | null;
  /** The first row of the log that is broken; where rows are gone, the one behind them; null when there is none. */
  id: number | null;
  fault: AuditFault;
  /** The fault in a sentence. */
  why: string;
};

export type AuditVerdict = {
  chains: number;
  /** Rows looked at; of a broken chain up to the break. */
  rows: number;
  /** The first break of each chain that has one, at most `MAX_BROKEN`. */
  broken: BrokenChain[];
};

/**
 * Verifies all chains, or one product's; no chain at all where the product is unknown. `onProgress` hears after each
 * page how many rows have been looked at. Throws `NOT_READY`.
 */
export async function verifyAudit(
  db: Pick<Db, 'query' | 'tx'>,
  { product_id, onProgress }: { product_id?: string; onProgress?(rows: number): void } = {},
): Promise<AuditVerdict> {
  const chains = (await allChains(db)).filter((chain) => product_id === undefined || chain === product_id);
  const verdict: AuditVerdict = { chains: 0, rows: 0, broken: [] };
  for (const chain of chains) {
    const broken = await db.tx(async (sql) => {
      await sql.query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
      await planForWalk(sql);
      return await verifyChain(sql, chain, (rows) => {
        verdict.rows += rows;
        onProgress?.(verdict.rows);
      });
    });
    verdict.chains += 1;
    if (broken !== null) verdict.broken.push({ product_id: chain, ...broken });
    if (verdict.broken.length === MAX_BROKEN) break;
  }
  return verdict;
}

/** Every chain there ought to be: of a head, of a row, of a product. The rows' are found by leaps over an index. */
async function allChains(sql: Sql): Promise<ChainId[]> {
  const rows = await sql.query<{ product_id: ChainId }>(
    `WITH RECURSIVE logged AS (
       (SELECT product_id FROM audit_log WHERE product_id IS NOT NULL ORDER BY product_id LIMIT 1)
       UNION ALL
       SELECT (SELECT a.product_id FROM audit_log a WHERE a.product_id > logged.product_id
                ORDER BY a.product_id LIMIT 1)
         FROM logged WHERE logged.product_id IS NOT NULL)
     SELECT product_id FROM audit_chains
     UNION SELECT product_id FROM logged WHERE product_id IS NOT NULL
     UNION SELECT id FROM products
     UNION SELECT NULL WHERE EXISTS (SELECT FROM audit_log WHERE product_id IS NULL)
     ORDER BY product_id`,
  );
  return rows.map(({ product_id }) => product_id);
}

type Break = Omit<BrokenChain, 'product_id'>;

async function verifyChain(sql: Sql, chain: ChainId, onPage: (rows: number) => void): Promise<Break | null> {
  const head = await headOf(sql, chain);
  if (head === null) {
    const [first] = await chainPage(sql, chain, null, 1);
    return breakAt(first ?? null, 'head_missing', 'The head of the chain is gone.');
  }
  let link = firstLink(head);
  let last: ChainedRow | null = null;
  for (;;) {
    const page = await chainPage(sql, chain, last?.id ?? null, PAGE);
    for (const [index, row] of page.entries()) {
      if (Number(row.seq) > head.seq && link.seq > head.seq) {
        onPage(index);
        return breakAt(row, 'inserted', `Row ${row.id} stands behind the end of the chain.`);
      }
      if (!follows(row, link)) {
        onPage(index);
        return await diagnose(sql, chain, { row, link, last });
      }
      link = linkAfter(row);
      last = row;
    }
    onPage(page.length);
    if (page.length < PAGE) break;
  }
  if (link.seq <= head.seq) {
    const why = `The last rows of the chain are gone, from number ${link.seq} to ${head.seq}.`;
    return { seq: link.seq, id: null, fault: 'tail_cut_off', why };
  }
  if (!link.prev_hash.equals(head.hash)) {
    return breakAt(last, 'head_altered', 'The head is not that of the last row: one of the two was altered.');
  }
  return null;
}

/** Why `row` does not fit `link`, which the row `last` has left. */
async function diagnose(
  sql: Sql,
  chain: ChainId,
  { row, link, last }: { row: ChainedRow; link: Link; last: ChainedRow | null },
): Promise<Break> {
  const seq = Number(row.seq);
  if (seq > link.seq) {
    const elsewhere = await numbered(sql, chain, link.seq);
    if (elsewhere.length > 0) {
      return breakAt(row, 'reordered', `Row ${row.id} stands where number ${link.seq} of its chain belongs.`);
    }
    if (hashOf({ ...row, seq: String(link.seq) }).equals(row.hash)) {
      return breakAt(row, 'altered', `Row ${row.id} was number ${link.seq} of its chain.`);
    }
    const gone =
      seq === link.seq + 1 ? `Row ${link.seq} of the chain is` : `Rows ${link.seq} to ${seq - 1} are`;
    return {
      seq: link.seq,
      id: Number(row.id),
      fault: 'deleted',
      why: `${gone} gone, before row ${row.id}.`,
    };
  }
  if (seq < link.seq || (await numbered(sql, chain, seq)).length > 1) {
    return breakAt(row, 'inserted', `Row ${row.id} has a number in its chain that another row has too.`);
  }
  if (last !== null && !row.prev_hash.equals(link.prev_hash) && hashOf(row).equals(row.hash)) {
    return breakAt(last, 'altered', `Row ${last.id} is not the one that row ${row.id} was chained to.`);
  }
  return breakAt(row, 'altered', `The hash of row ${row.id} is not that of its columns.`);
}

/** The rows of a chain that have this number. */
const numbered = (sql: Sql, chain: ChainId, seq: number) =>
  sql.query(`SELECT id FROM audit_log WHERE ${of(chain)} AND seq = $2`, [chain, seq]);

const breakAt = (row: ChainedRow | null, fault: AuditFault, why: string): Break => ({
  seq: row === null ? null : Number(row.seq),
  id: row === null ? null : Number(row.id),
  fault,
  why,
});
