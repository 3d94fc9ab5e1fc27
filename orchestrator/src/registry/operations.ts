import type { Sql } from './db.ts';

export type OperationKind = 'provision' | 'start' | 'stop' | 'wake' | 'restart' | 'destroy';

/** One lifecycle change of one engine; unfinished while `outcome` is null. Bap-engine §10, O21. */
export type OperationRow = {
  id: string;
  engine_id: string;
  product_id: string;
  user_id: string;
  kind: OperationKind;
  actor: string;
  step: string;
  epoch: number;
  deadline: Date;
  attempt: number;
  evidence: Record<string, unknown>;
  outcome: 'succeeded' | 'failed' | null;
  error_code: string | null;
  error_message: string | null;
  created_at: Date;
  ended_at: Date | null;
};

/** Adds an operation. The caller holds the engine's row, so that no other can have come in between. */
export async function insertOperation(
  sql: Sql,
  operation: Pick<
    OperationRow,
    'engine_id' | 'product_id' | 'user_id' | 'kind' | 'actor' | 'step' | 'epoch'
  > & { deadline_s: number },
): Promise<OperationRow> {
  const [row] = await sql.query<OperationRow>(
    `INSERT INTO operations (engine_id, product_id, user_id, kind, actor, step, epoch, deadline)
     VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8)) RETURNING *`,
    [
      operation.engine_id,
      operation.product_id,
      operation.user_id,
      operation.kind,
      operation.actor,
      operation.step,
      operation.epoch,
      operation.deadline_s,
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

/** Every unfinished operation, oldest first. */
export async function unfinishedOperations(sql: Sql): Promise<OperationRow[]> {
  return await sql.query<OperationRow>('SELECT * FROM operations WHERE outcome IS NULL ORDER BY created_at');
}

/** Takes an operation up: one more attempt, with the whole time again. Null when it has ended meanwhile. */
export async function beginAttempt(sql: Sql, id: string, deadline_s: number): Promise<OperationRow | null> {
  const [row] = await sql.query<OperationRow>(
    `UPDATE operations SET attempt = attempt + 1, deadline = now() + make_interval(secs => $2)
      WHERE id = $1 AND outcome IS NULL RETURNING *`,
    [id, deadline_s],
  );
  return row ?? null;
}

/** Notes that a step begins, and what the ones before it found. */
export async function noteStep(
  sql: Sql,
  id: string,
  step: string,
  evidence: Record<string, unknown>,
): Promise<void> {
  await sql.query(
    'UPDATE operations SET step = $2, evidence = evidence || $3::jsonb WHERE id = $1 AND outcome IS NULL',
    [id, step, evidence],
  );
}

/** Ends an operation, once; null when it has already ended. */
export async function endOperation(
  sql: Sql,
  id: string,
  end: { evidence: Record<string, unknown>; error: { code: string; message: string } | null },
): Promise<OperationRow | null> {
  const [row] = await sql.query<OperationRow>(
    `UPDATE operations
        SET outcome = $2, error_code = $3, error_message = $4, evidence = evidence || $5::jsonb, ended_at = now()
      WHERE id = $1 AND outcome IS NULL RETURNING *`,
    [
      id,
      end.error === null ? 'succeeded' : 'failed',
      end.error?.code ?? null,
      end.error?.message ?? null,
      end.evidence,
    ],
  );
  return row ?? null;
}
