import type { Sql } from './db.ts';
import { ownerLives } from './replica.ts';

/** `retire`: a destroy that leaves a tombstone; `purge`: the removal of one (lifecycle/machine.ts). */
export type OperationKind =
  | 'provision'
  | 'start'
  | 'stop'
  | 'sleep'
  | 'wake'
  | 'restart'
  | 'destroy'
  | 'retire'
  | 'restore'
  | 'purge'
  | 'rotate-key'
  | 'upgrade'
  | 'rollback';

/** One lifecycle change of one engine; unfinished while `outcome` is null. Bap-engine §10, O21. */
export type OperationRow = {
  id: string;
  engine_id: string;
  /** Both null: the engine had no owner when it began. */
  product_id: string | null;
  user_id: string | null;
  kind: OperationKind;
  actor: string;
  step: string;
  epoch: number;
  deadline: Date;
  /** A sleep: for how long the engine must have been quiet, seconds; else null. */
  quiet_s: number | null;
  /** A retire: for how long its engine can be restored, seconds; else null. */
  retain_s: number | null;
  /** A provision that took an engine from the warm pool. */
  warm: boolean;
  /** An upgrade: the image it leads to; else null. */
  image: string | null;
  /** What it began by failing; whoever waits for its end waits for that one's. */
  followed_by: string | null;
  attempt: number;
  /** The replica that claimed it last; null before the first claim. */
  owner: number | null;
  /** How many times it has been claimed: the number that fences those who claimed it before. */
  lease: number;
  lease_until: Date | null;
  evidence: Record<string, unknown>;
  outcome: 'succeeded' | 'failed' | null;
  error_code: string | null;
  error_message: string | null;
  created_at: Date;
  ended_at: Date | null;
};

/** An operation with the right to work on it, and how much time is left, milliseconds (the database's clock). */
export type Claim = OperationRow & { owner: number; remaining_ms: number };

/** What a write of the one who works on an operation carries; it has no effect when the lease is another's by now. */
export type Lease = Pick<Claim, 'id' | 'owner' | 'lease'>;

/** Adds an operation. The caller holds the engine's row, so that no other can have come in between. */
export async function insertOperation(
  sql: Sql,
  operation: Pick<
    OperationRow,
    | 'engine_id'
    | 'product_id'
    | 'user_id'
    | 'kind'
    | 'actor'
    | 'step'
    | 'epoch'
    | 'quiet_s'
    | 'retain_s'
    | 'warm'
    | 'image'
  > & { deadline_s: number },
): Promise<OperationRow> {
  const [row] = await sql.query<OperationRow>(
    `INSERT INTO operations (engine_id, product_id, user_id, kind, actor, step, epoch, deadline, quiet_s, retain_s,
                             warm, image)
     VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8), $9, $10, $11, $12) RETURNING *`,
    [
      operation.engine_id,
      operation.product_id,
      operation.user_id,
      operation.kind,
      operation.actor,
      operation.step,
      operation.epoch,
      operation.deadline_s,
      operation.quiet_s,
      operation.retain_s,
      operation.warm,
      operation.image,
    ],
  );
  if (row === undefined) throw new TypeError('INSERT gave no row');
  return row;
}

export async function operationById(sql: Sql, id: string): Promise<OperationRow | null> {
  const [row] = await sql.query<OperationRow>('SELECT * FROM operations WHERE id = $1', [id]);
  return row ?? null;
}

export async function unfinishedOperation(sql: Sql, engine_id: string): Promise<OperationRow | null> {
  const [row] = await sql.query<OperationRow>(
    'SELECT * FROM operations WHERE engine_id = $1 AND outcome IS NULL',
    [engine_id],
  );
  return row ?? null;
}

/** Notes what an operation that has ended began by that. */
export async function noteFollowedBy(sql: Sql, id: string, followed_by: string): Promise<void> {
  await sql.query('UPDATE operations SET followed_by = $2 WHERE id = $1', [id, followed_by]);
}

/** Whether a final destroy of the engine was tried and failed. */
export async function destroyFailed(sql: Sql, engine_id: string): Promise<boolean> {
  const rows = await sql.query(
    "SELECT FROM operations WHERE engine_id = $1 AND kind = 'destroy' AND outcome = 'failed' LIMIT 1",
    [engine_id],
  );
  return rows.length > 0;
}

/**
 * Claims up to `limit` operations that are free, oldest first, or only the one named by `id`; what another
 * claims in the same moment is skipped. Free is what nobody has claimed, whose lease has run out, or whose
 * owner is dead; with `known`, also what is this owner's without being known to him: the answer to his claim
 * was lost on the way.
 *
 * One statement for the lease and, for the kinds in `takes_epoch`, a new epoch of engine and operation (O22):
 * whatever an earlier claimer still does is outdated from then on.
 *
 * The deadline stays as it was set at the beginning, except that a later claim has `last_chance_s` at least:
 * an outage of all orchestrators must not turn a destroy into a failure.
 */
export async function claimOperations(
  sql: Sql,
  claim: {
    owner: number;
    lease_s: number;
    last_chance_s: number;
    takes_epoch: readonly OperationKind[];
    limit: number;
    id?: string;
    known?: readonly string[];
  },
): Promise<Claim[]> {
  return await sql.query<Claim>(
    `WITH free AS (
       SELECT id, engine_id, kind FROM operations
        WHERE outcome IS NULL AND ($6::uuid IS NULL OR id = $6)
          AND (owner IS NULL OR lease_until <= now() OR NOT ${ownerLives('owner')}
               OR (owner = $1 AND id <> ALL ($7::uuid[])))
        ORDER BY created_at LIMIT $5 FOR UPDATE SKIP LOCKED),
     moved AS (
       UPDATE engines e SET epoch = e.epoch + 1 FROM free
        WHERE e.id = free.engine_id AND free.kind = ANY($4) RETURNING e.id, e.epoch)
     UPDATE operations o
        SET owner = $1, lease = o.lease + 1, lease_until = now() + make_interval(secs => $2),
            attempt = o.attempt + 1, epoch = coalesce(moved.epoch, o.epoch),
            deadline = CASE WHEN o.attempt = 0 THEN o.deadline
              ELSE greatest(o.deadline, now() + make_interval(secs => $3)) END
       FROM free LEFT JOIN moved ON moved.id = free.engine_id
      WHERE o.id = free.id
      RETURNING o.*, (extract(epoch FROM o.deadline - now()) * 1000)::float8 AS remaining_ms`,
    [
      claim.owner,
      claim.lease_s,
      claim.last_chance_s,
      claim.takes_epoch,
      claim.limit,
      claim.id ?? null,
      claim.known ?? null,
    ],
  );
}

/** Prolongs leases; gives the ids of those that are still held. */
export async function renewLeases(
  sql: Sql,
  owner: number,
  leases: readonly Lease[],
  lease_s: number,
): Promise<string[]> {
  const rows = await sql.query<{ id: string }>(
    `UPDATE operations o SET lease_until = now() + make_interval(secs => $4)
       FROM unnest($2::uuid[], $3::int[]) AS held (id, lease)
      WHERE o.id = held.id AND o.owner = $1 AND o.lease = held.lease AND outcome IS NULL RETURNING o.id`,
    [owner, leases.map(({ id }) => id), leases.map(({ lease }) => lease), lease_s],
  );
  return rows.map(({ id }) => id);
}

/** Notes that a step begins, and what the ones before it found. False when the lease is lost. */
export async function noteStep(
  sql: Sql,
  { id, owner, lease }: Lease,
  step: string,
  evidence: Record<string, unknown>,
): Promise<boolean> {
  const rows = await sql.query<{ id: string }>(
    `UPDATE operations SET step = $4, evidence = evidence || $5::jsonb
      WHERE id = $1 AND owner = $2 AND lease = $3 AND outcome IS NULL RETURNING id`,
    [id, owner, lease, step, evidence],
  );
  return rows.length > 0;
}

export type EndedOperation = OperationRow & { outcome: 'succeeded' | 'failed'; ended_at: Date };

/** Ends an operation, once; null when it has already ended, or the lease is lost. */
export async function endOperation(
  sql: Sql,
  { id, owner, lease }: Lease,
  end: { evidence: Record<string, unknown>; error: { code: string; message: string } | null },
): Promise<EndedOperation | null> {
  const [row] = await sql.query<EndedOperation>(
    `UPDATE operations
        SET outcome = $4, error_code = $5, error_message = $6, evidence = evidence || $7::jsonb, ended_at = now()
      WHERE id = $1 AND owner = $2 AND lease = $3 AND outcome IS NULL RETURNING *`,
    [
      id,
      owner,
      lease,
      end.error === null ? 'succeeded' : 'failed',
      end.error?.code ?? null,
      end.error?.message ?? null,
      end.evidence,
    ],
  );
  return row ?? null;
}
