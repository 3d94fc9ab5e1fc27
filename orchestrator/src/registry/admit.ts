/**
 * What an admit reads and writes, in one statement: the product by its key, the rate limit, the engine, and the
 * note that it was admitted. It is asked before every request of every user, and each round trip to the database
 * costs more than all the rest (docs/performance.md). What is to be written, functions of the migrations write,
 * each in a moment of its own: `take_admits` the limit, `note_admit` the note.
 *
 * Two hard parts. An admit and a sleep in the same instant: one says "it runs, go there" while the other freezes
 * it. Both go through the engine's row. A sleep writes `sleep_depth` there as it begins, before it looks for notes
 * of admits; an admit finds `sleep_depth` empty and keeps the row locked until its note is committed. PostgreSQL
 * puts the two in line: either the admit sees the sleep and waits for its end, or the sleep sees the admit and lets
 * the engine be. That holds over any number of replicas.
 *
 * And the limit, which puts all admits of a product in line: whoever holds his place there must not wait for one
 * user's engine, or all users of the product would. So the statement that counts passes over a row that another
 * holds; the admit is not noted then, and looks again, with a statement that does not count and may wait.
 */
import type { Sql } from './db.ts';
import { type EngineAndOperation, type JoinedOperation, type LiveEngine, withOperation } from './engines.ts';
import { PRODUCT_BY_KEY, type ProductRow } from './products.ts';
import { ADMIT_GRAIN_S } from './sleep.ts';

/** Of an engine, what an admit decides by and answers with. */
export type AdmitEngine = Pick<
  LiveEngine,
  | 'id'
  | 'user_id'
  | 'status'
  | 'url'
  | 'host_url'
  | 'sleep_depth'
  | 'engine_version'
  | 'engine_key_enc'
  | 'epoch'
  | 'created_at'
  | 'last_health_at'
  | 'restart_at'
>;

export type AdmitLook = {
  product: ProductRow;
  /** 0, or after how many whole seconds the product's rate limit grants an admit; this one did not count. */
  wait_s: number;
  /**
   * The user's engine; null when there is none. `noted`: it runs and no sleep comes before this admit's next
   * `ORCH_IDLE_TIMEOUT_S`; without it a running engine is not to be given out.
   */
  found: (EngineAndOperation<AdmitEngine> & { noted: boolean }) | null;
};

/** The product, which is one, stands with the first place only: parsing it again for every caller would show. */
type Row = { product: ProductRow | null; place: number; wait_s: number; noted: boolean } & (
  | (AdmitEngine & JoinedOperation)
  | { id: null }
);

/**
 * The users of `$2`, each with its place in the order of the callers; so the limit grants. They are gone through in one
 * order everywhere, or two statements that note the same engines could wait for each other. Their number is hidden from
 * the planner: it would plan anew for each number.
 */
const ALL_ASKED = 'SELECT * FROM unnest((SELECT $2::text[])) WITH ORDINALITY AS a(user_id, place) ORDER BY 1';
/** The one user of `$2`; a quarter of the statement's time is saved. */
const ONE_ASKED = 'SELECT ($2::text[])[1] AS user_id, 1 AS place';

/** Each user's engine is one look-up of its own; LIMIT keeps it so. */
const look = (start: { product: string; allowance: string; asked: string; waits: boolean }) => `
  WITH counted AS MATERIALIZED (SELECT *, ${start.allowance} AS allowance FROM (${start.product}) AS p),
       product AS (SELECT *, (allowance).* FROM counted)
  SELECT CASE WHEN place = 1 THEN json_build_object('id', p.id, 'slug', p.slug, 'display_name', p.display_name,
                                                    'api_key_hash', p.api_key_hash, 'policy', p.policy) END AS product,
         asked.place::int, CASE WHEN place > granted THEN wait_s ELSE 0 END AS wait_s, found.*,
         CASE WHEN found.status = 'running' AND sleep_depth IS NULL AND (place > granted) IS NOT TRUE
                   AND policy->'suspended' IS DISTINCT FROM 'true'
              THEN coalesce(fresh, false) OR note_admit(found.id, ${start.waits})
              ELSE false END AS noted
    FROM product p
   CROSS JOIN (${start.asked}) AS asked
    LEFT JOIN LATERAL (
      SELECT e.id, e.user_id, e.status, e.url, e.host_url, e.sleep_depth, e.engine_version, e.engine_key_enc, e.epoch, e.created_at,
             e.last_health_at, e.restart_at, o.id AS operation_id, o.kind AS operation_kind, a.at > now() - make_interval(secs => $3) AS fresh
        FROM engines e
        LEFT JOIN engine_admits a ON a.engine_id = e.id
        LEFT JOIN operations o ON o.engine_id = e.id AND o.outcome IS NULL
       WHERE e.product_id = p.id AND e.user_id = asked.user_id AND e.tombstone_until IS NULL
       LIMIT 1) AS found ON true`;

const firstLook = (asked: string) =>
  look({
    product: PRODUCT_BY_KEY,
    allowance: `CASE WHEN policy ? 'rate_limit_rpm'
                     THEN take_admits(id, (policy->>'rate_limit_rpm')::int, cardinality($2::text[])) END`,
    asked,
    waits: false,
  });
const FIRST_LOOK = firstLook(ONE_ASKED);
const FIRST_LOOKS = firstLook(ALL_ASKED);
const NEXT_LOOK = look({
  product: 'SELECT * FROM products WHERE id = $1',
  allowance: 'NULL::allowance',
  asked: ONE_ASKED,
  waits: true,
});

/**
 * The first looks of admits of one product, each counted against its `rate_limit_rpm`: one for each of `user_ids`, in
 * their order. Null when no product has this key. Bap-engine §2.3, §6, O17.
 */
export async function countAndLook(
  sql: Sql,
  api_key_hash: string,
  user_ids: string[],
): Promise<AdmitLook[] | null> {
  const statement = user_ids.length === 1 ? FIRST_LOOK : FIRST_LOOKS;
  const rows = await sql.query<Row>(statement, [api_key_hash, user_ids, ADMIT_GRAIN_S]);
  rows.sort((a, b) => a.place - b.place);
  const product = rows[0]?.product;
  if (!product) return null;
  return rows.map((row) => ({ product, wait_s: Math.ceil(row.wait_s), found: foundIn(row) }));
}

/** Every further look of the same admit. */
export async function lookAgain(sql: Sql, product_id: string, user_id: string): Promise<AdmitLook['found']> {
  const [row] = await sql.query<Row>(NEXT_LOOK, [product_id, [user_id], ADMIT_GRAIN_S]);
  return row === undefined ? null : foundIn(row);
}

function foundIn(row: Row): AdmitLook['found'] {
  return row.id === null ? null : { ...withOperation(row), noted: row.noted };
}
