import { type Sql, violates } from './db.ts';
import type { OperationKind, OperationRow } from './operations.ts';

/** The states of an engine that its product sees. */
export type LiveStatus = 'provisioning' | 'running' | 'sleeping' | 'stopped' | 'failed' | 'destroying';

/** `destroyed`: a tombstone, to be restored or removed (tombstones.ts). */
export type EngineStatus = LiveStatus | 'destroyed';

/** How deep an engine sleeps: in name only, frozen in memory, or stopped (O5). */
export type SleepDepth = 'label' | 'doze' | 'hibernate';

/**
 * One user's engine, or, without product and user, one of the warm pool (O26). `engine_key_enc` is the sealed
 * key, `key_hash` what the Engine checks against.
 */
export type EngineRow = {
  id: string;
  product_id: string | null;
  user_id: string | null;
  status: EngineStatus;
  url: string | null;
  /** The same as a port of the host, where `url` is another address. */
  host_url: string | null;
  engine_version: string;
  /** Its provision named the version: no rollout concerns it. */
  version_pinned: boolean;
  /** The image it was last upgraded to, or tried to be, and when that began. */
  upgrade_image: string | null;
  upgrade_at: Date | null;
  /** Its data has been a newer image's: it is brought back before anything boots it again. */
  revert_due: boolean;
  key_hash: string;
  engine_key_enc: string;
  /** The same of the key that it is being rotated to, until it is known that the Engine has it. */
  next_key_hash: string | null;
  next_key_enc: string | null;
  epoch: number;
  boot_duration_ms: number | null;
  failure_reason: string | null;
  created_at: Date;
  last_health_at: Date | null;
  /** Word of the last probe; `reduced` is no illness (O11). */
  health: 'ok' | 'reduced' | 'ill' | null;
  health_seen: string | null;
  ill_probes: number;
  ill_since: Date | null;
  next_probe_at: Date;
  restart_attempts: number;
  /** When a failed engine is restarted; null: not by itself. */
  restart_at: Date | null;
  /** How deep it sleeps, or is about to; null when it is not going to. */
  sleep_depth: SleepDepth | null;
  /** When it last fell asleep. */
  slept_at: Date | null;
  /** When it is asked next whether it is idle, or put deeper. */
  next_idle_check_at: Date;
  /** Until when it can be restored; set: the row is a tombstone, no engine. */
  tombstone_until: Date | null;
  /** When it became a tombstone. */
  destroyed_at: Date | null;
};

/** What is known of an engine before it exists. */
export type NewEngine = Pick<EngineRow, 'engine_version' | 'version_pinned' | 'key_hash' | 'engine_key_enc'>;

/** A user's engine, as opposed to a tombstone and to one of the warm pool. */
export type LiveEngine = EngineRow & { status: LiveStatus; product_id: string; user_id: string };

export const isLive = (engine: EngineRow): engine is LiveEngine =>
  engine.tombstone_until === null && engine.product_id !== null;

/**
 * Adds an engine within its product's quota, `provisioning`: count, cap and insert are one statement on the
 * locked product row, so N+1 at once at cap N give exactly N (O18). `at_quota` when the product is full,
 * `exists` when the user has an engine.
 */
export async function insertEngine(
  sql: Sql,
  engine: NewEngine & Pick<LiveEngine, 'product_id' | 'user_id'>,
): Promise<LiveEngine | 'at_quota' | 'exists'> {
  try {
    const [row] = await sql.query<LiveEngine>(
      `WITH place AS (
         UPDATE products SET engine_count = engine_count + 1
          WHERE id = $1 AND engine_count < coalesce((policy->>'max_engines')::int, 2147483647)
         RETURNING id)
       INSERT INTO engines (id, product_id, user_id, status, engine_version, version_pinned, key_hash, engine_key_enc)
       SELECT gen_random_uuid(), place.id, $2, 'provisioning', $3, $4, $5, $6 FROM place
       RETURNING *`,
      [
        engine.product_id,
        engine.user_id,
        engine.engine_version,
        engine.version_pinned,
        engine.key_hash,
        engine.engine_key_enc,
      ],
    );
    return row ?? 'at_quota';
  } catch (error) {
    // The statement failed as a whole: the count is as it was.
    if (violates(error, 'engines_user_unique')) return 'exists';
    throw error;
  }
}

/**
 * Removes an engine and its count, or a tombstone or an engine of the warm pool, which have none. The product row
 * is locked first, as the insert does it: the other way round a destroy and a provision of one user could wait for
 * each other.
 */
export async function deleteEngine(sql: Sql, id: string): Promise<void> {
  await sql.query(
    `WITH place AS (
       UPDATE products SET engine_count = engine_count - 1
        WHERE id = (SELECT product_id FROM engines WHERE id = $1 AND tombstone_until IS NULL)
       RETURNING id)
     DELETE FROM engines USING (SELECT count(*) FROM place) AS counted WHERE engines.id = $1`,
    [id],
  );
}

/** What a request needs to know of a user's engine: the row, and the operation under way on it, if any. */
export type EngineAndOperation<Engine = LiveEngine> = {
  engine: Engine;
  operation: { id: string; kind: OperationKind } | null;
};

/** The columns of the operation under way, beside an engine's. */
export type JoinedOperation = {
  operation_id: OperationRow['id'] | null;
  operation_kind: OperationKind | null;
};

export function withOperation<Engine>(
  row: Engine & JoinedOperation,
): EngineAndOperation<Omit<Engine, keyof JoinedOperation>> {
  const { operation_id, operation_kind, ...engine } = row;
  const operation =
    operation_id === null || operation_kind === null ? null : { id: operation_id, kind: operation_kind };
  return { engine, operation };
}

export async function engineOf(
  sql: Sql,
  product_id: string,
  user_id: string,
): Promise<EngineAndOperation | null> {
  const [row] = await sql.query<LiveEngine & JoinedOperation>(
    `SELECT e.*, o.id AS operation_id, o.kind AS operation_kind
       FROM engines e LEFT JOIN operations o ON o.engine_id = e.id AND o.outcome IS NULL
      WHERE e.product_id = $1 AND e.user_id = $2 AND e.tombstone_until IS NULL`,
    [product_id, user_id],
  );
  return row === undefined ? null : withOperation(row);
}

/** Also a tombstone. */
export async function engineById(sql: Sql, id: string): Promise<EngineRow | null> {
  const [row] = await sql.query<EngineRow>('SELECT * FROM engines WHERE id = $1', [id]);
  return row ?? null;
}

/** The same, locked until the transaction ends: whoever changes an engine's state holds this. */
export async function lockEngine(sql: Sql, id: string): Promise<EngineRow | null> {
  const [row] = await sql.query<EngineRow>('SELECT * FROM engines WHERE id = $1 FOR UPDATE', [id]);
  return row ?? null;
}

/** Notes that the engine's data is what its image can read again; not when the caller is outdated. */
export async function noteReverted(sql: Sql, id: string, epoch: number): Promise<void> {
  await sql.query('UPDATE engines SET revert_due = false WHERE id = $1 AND epoch = $2', [id, epoch]);
}

/** Writes the given columns of one engine. A state other than sleep ends the sleep, in whatever depth. */
export async function updateEngine(
  sql: Sql,
  id: string,
  change: Partial<
    Pick<
      EngineRow,
      | 'status'
      | 'url'
      | 'host_url'
      | 'epoch'
      | 'boot_duration_ms'
      | 'failure_reason'
      | 'last_health_at'
      | 'sleep_depth'
      | 'engine_version'
      | 'revert_due'
    >
  >,
): Promise<void> {
  const awake = change.status !== undefined && change.status !== 'sleeping';
  const columns = awake ? { sleep_depth: null, ...change } : change;
  const assignments = Object.keys(columns).map((name, index) => `${name} = $${index + 2}`);
  await sql.query(`UPDATE engines SET ${assignments.join(', ')} WHERE id = $1`, [
    id,
    ...Object.values(columns),
  ]);
}
