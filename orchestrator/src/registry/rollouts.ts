/**
 * Roll-outs as the registry sees them: which image engines are to have, and how many may have it by now.
 *
 * The hard part is the share. A broken image must reach no more engines than the canary share before somebody
 * notices, also when a thousand engines wake in the same second on five replicas. So an engine takes a *place* before
 * it is upgraded, in the transaction that begins the upgrade and with the roll-out's row locked: places are counted
 * one after the other. Only while a failed upgrade halts the roll-out in the transaction of its own end, on the same
 * row, is the count the whole truth: whoever comes after it finds no place.
 *
 * Places are counted, not drawn: of 20 engines a share of 5 % is one, where a hash of their ids would give none, or
 * three. A higher share only adds, because a place that is taken stays taken.
 */
import type { Sql } from './db.ts';
import type { EngineRow } from './engines.ts';
import { SETTLED } from './health.ts';

export type RolloutRow = {
  image: string;
  /** Of the engines that it concerns so many may have it. */
  percent: number;
  /** Running engines are upgraded as well; else only those that boot anyway. */
  eager: boolean;
  /** What new engines get while this one is halted; null: there was none before. */
  previous: string | null;
  configured_at: Date | null;
  started_at: Date;
  /** Tries before that do not count any more. */
  resumed_at: Date;
  /** When an engine had been well on it for the time of probation, ever. */
  proven_at: Date | null;
  halted_at: Date | null;
  halted_reason: string | null;
  halted_engine: string | null;
};

/** Proven since it was begun, or resumed, last. */
export const isProven = ({ proven_at, resumed_at }: RolloutRow) =>
  proven_at !== null && proven_at >= resumed_at;

/** The one begun last; null before the first orchestrator has started. */
export async function currentRollout(sql: Sql): Promise<RolloutRow | null> {
  const [row] = await sql.query<RolloutRow>('SELECT * FROM rollouts ORDER BY started_at DESC LIMIT 1');
  return row ?? null;
}

/** The same, locked until the transaction ends. */
async function lockCurrent(sql: Sql): Promise<RolloutRow | null> {
  const [row] = await sql.query<RolloutRow>(
    `SELECT * FROM rollouts WHERE image = (SELECT image FROM rollouts ORDER BY started_at DESC LIMIT 1)
        FOR UPDATE`,
  );
  return row ?? null;
}

/** All of them, the one begun last first. */
export async function listRollouts(sql: Sql, limit: number): Promise<RolloutRow[]> {
  return await sql.query<RolloutRow>('SELECT * FROM rollouts ORDER BY started_at DESC LIMIT $1', [limit]);
}

/** The image of an engine whose provision names none. */
export async function imageForNew(sql: Sql): Promise<string> {
  const rollout = await currentRollout(sql);
  if (rollout === null) throw new TypeError('an orchestrator that serves has made its image known');
  return goodImage(rollout) ?? rollout.image;
}

const goodImage = ({ image, previous, halted_at }: RolloutRow) => (halted_at === null ? image : previous);

/** No two begin in the same moment. To be asked before anything else is locked. */
const lockTable = (sql: Sql) => sql.query('LOCK TABLE rollouts IN SHARE ROW EXCLUSIVE MODE');

/**
 * Makes the image known that an orchestrator is configured with; begins its roll-out when it is another than the
 * one configured last. So a restart changes nothing, and neither undoes a roll-out that was begun by a call. Gives
 * what was begun, or null.
 */
export async function configureImage(sql: Sql, image: string, percent: number): Promise<RolloutRow | null> {
  await lockTable(sql);
  const [last] = await sql.query<{ image: string }>(
    'SELECT image FROM rollouts WHERE configured_at IS NOT NULL ORDER BY configured_at DESC LIMIT 1',
  );
  if (last?.image === image) return null;
  const current = await currentRollout(sql);
  const begun =
    current?.image === image ? current : await beginRollout(sql, { image, percent, eager: false });
  await sql.query('UPDATE rollouts SET configured_at = now() WHERE image = $1', [image]);
  return begun === current ? null : begun;
}

/**
 * Begins the roll-out of an image, or begins it again: it has to prove itself anew. One that was halted stays so. The
 * very first image has nothing to prove: there is none to go back to.
 */
async function beginRollout(
  sql: Sql,
  { image, percent, eager }: Pick<RolloutRow, 'image' | 'percent' | 'eager'>,
): Promise<RolloutRow> {
  const [row] = await sql.query<RolloutRow>(
    `WITH before AS (
       SELECT CASE WHEN halted_at IS NULL AND proven_at IS NOT NULL THEN image ELSE previous END AS good
         FROM rollouts ORDER BY started_at DESC LIMIT 1),
     -- Engines from before there were roll-outs.
     most AS (
       SELECT engine_version AS good FROM engines WHERE NOT version_pinned AND product_id IS NOT NULL
        GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1),
     previous AS (
       SELECT nullif(coalesce((SELECT good FROM before), (SELECT good FROM most)), $1) AS good)
     INSERT INTO rollouts (image, percent, eager, previous, proven_at)
     SELECT $1, $2, $3, good, CASE WHEN good IS NULL THEN now() END FROM previous
     ON CONFLICT (image) DO UPDATE
        SET percent = excluded.percent, eager = excluded.eager, previous = excluded.previous,
            started_at = now(), resumed_at = now()
     RETURNING *`,
    [image, percent, eager],
  );
  if (row === undefined) throw new TypeError('INSERT gave no row');
  return row;
}

/** What an operator wants of the current roll-out; what is absent stays. */
export type RolloutChange = { image?: string; percent?: number; resume: boolean };

/**
 * Changes the current roll-out; with another image it begins that one's. Given a share, running engines are upgraded
 * too. `halted` without effect, where it is and is not resumed; null before there is any.
 */
export async function changeRollout(
  sql: Sql,
  { image, percent, resume }: RolloutChange,
  canary_percent: number,
): Promise<RolloutRow | 'halted' | null> {
  await lockTable(sql);
  let current = await lockCurrent(sql);
  if (image !== undefined && image !== current?.image) {
    const eager = percent !== undefined;
    current = await beginRollout(sql, { image, percent: percent ?? canary_percent, eager });
  }
  if (current === null) return null;
  if (current.halted_at !== null && !resume) return 'halted';
  const [row] = await sql.query<RolloutRow>(
    `UPDATE rollouts
        SET percent = coalesce($2, percent), eager = eager OR $2 IS NOT NULL,
            resumed_at = CASE WHEN halted_at IS NULL THEN resumed_at ELSE now() END,
            halted_at = NULL, halted_reason = NULL, halted_engine = NULL
      WHERE image = $1 RETURNING *`,
    [current.image, percent ?? null],
  );
  return row ?? null;
}

/** Engines that a roll-out concerns: those without a pin that it found on another image. */
export type Progress = {
  concerned: number;
  /** That have a place: they have the image, or were tried. */
  touched: number;
  /** That have it. */
  upgraded: number;
  /** Whose upgrade has begun and not ended. */
  under_way: number;
};

/** A user's engine, no tombstone, whose version follows the roll-outs. */
const follows = (e: string) =>
  `${e}.product_id IS NOT NULL AND ${e}.tombstone_until IS NULL AND NOT ${e}.version_pinned`;

export async function progressOf(sql: Sql, { image, resumed_at }: RolloutRow): Promise<Progress> {
  const [row] = await sql.query<Progress>(
    `SELECT count(*) FILTER (WHERE engine_version <> $1 OR upgrade_image = $1)::int AS concerned,
            count(*) FILTER (WHERE upgrade_image = $1 AND (upgrade_at >= $2 OR engine_version = $1))::int AS touched,
            count(*) FILTER (WHERE upgrade_image = $1 AND engine_version = $1)::int AS upgraded,
            (SELECT count(*) FROM operations
              WHERE outcome IS NULL AND kind = 'upgrade' AND image = $1)::int AS under_way
       FROM engines e WHERE ${follows('e')}`,
    [image, resumed_at],
  );
  if (row === undefined) throw new TypeError('SELECT gave no row');
  return row;
}

/** So many percent of a number, one at least unless it is 0 %. */
const shareOf = (count: number, percent: number) =>
  percent === 0 ? 0 : Math.max(1, Math.floor((count * percent) / 100));

/**
 * Engines that may be upgraded now. Until the image is proven the canary share is all there is; and never are more
 * than the canary share under way at once, so that however many wake together, a share is what is lost if it fails.
 */
export function placesLeft(rollout: RolloutRow, progress: Progress, canary_percent: number): number {
  if (rollout.halted_at !== null) return 0;
  const { concerned, touched, under_way } = progress;
  const canary = shareOf(concerned, Math.min(rollout.percent, Math.max(canary_percent, 1)));
  const share = isProven(rollout) ? shareOf(concerned, rollout.percent) : canary;
  return Math.max(0, Math.min(share - touched, canary - under_way));
}

/** Why an engine is not upgraded to the image of a roll-out; null: it would be, if there is a place. */
export type UpgradeObstacle = 'current' | 'pinned' | 'halted' | 'tried' | 'not allowed';

/** `allowed_versions`: of the product's policy. */
export function obstacleFor(
  rollout: RolloutRow,
  engine: Pick<EngineRow, 'engine_version' | 'version_pinned' | 'upgrade_image' | 'upgrade_at'>,
  allowed_versions: readonly string[] | undefined,
): UpgradeObstacle | null {
  const { image, resumed_at } = rollout;
  if (engine.version_pinned) return 'pinned';
  if (engine.engine_version === image) return 'current';
  if (rollout.halted_at !== null) return 'halted';
  if (engine.upgrade_image === image && engine.upgrade_at !== null && engine.upgrade_at >= resumed_at) {
    return 'tried';
  }
  return allowed_versions?.includes(image) === false ? 'not allowed' : null;
}

/**
 * Takes a place in the current roll-out for an engine; gives the image it is to have, or null: it stays as it is. The
 * caller holds the engine's row.
 */
export async function takePlace(
  sql: Sql,
  engine: EngineRow,
  canary_percent: number,
): Promise<RolloutRow['image'] | null> {
  if (engine.product_id === null || engine.version_pinned) return null;
  const seen = await currentRollout(sql);
  if (seen === null || seen.image === engine.engine_version) return null;
  const [product] = await sql.query<{ allowed_versions: string[] | null }>(
    "SELECT policy->'allowed_versions' AS allowed_versions FROM products WHERE id = $1",
    [engine.product_id],
  );
  const allowed_versions = product?.allowed_versions ?? undefined;
  if (obstacleFor(seen, engine, allowed_versions) !== null) return null;
  const rollout = await lockCurrent(sql);
  if (rollout === null || obstacleFor(rollout, engine, allowed_versions) !== null) return null;
  if (placesLeft(rollout, await progressOf(sql, rollout), canary_percent) === 0) return null;
  await sql.query('UPDATE engines SET upgrade_image = $2, upgrade_at = now() WHERE id = $1', [
    engine.id,
    rollout.image,
  ]);
  return rollout.image;
}

/** Gives a place back: the engine was at work, and nothing has been done to it. */
export async function leavePlace(sql: Sql, engine_id: string): Promise<void> {
  await sql.query('UPDATE engines SET upgrade_image = NULL, upgrade_at = NULL WHERE id = $1', [engine_id]);
}

/**
 * Halts a roll-out; false where it was halted already, or there is none of this image. `new_engine`: it is one that
 * failed, which says something only while the image has not proven itself, and there is another to have instead.
 */
export async function haltRollout(
  sql: Sql,
  image: string,
  { engine_id, reason, new_engine }: { engine_id: string; reason: string; new_engine: boolean },
): Promise<boolean> {
  const rows = await sql.query(
    `UPDATE rollouts SET halted_at = now(), halted_reason = $3, halted_engine = $2
      WHERE image = $1 AND halted_at IS NULL
        AND (NOT $4 OR (previous IS NOT NULL AND (proven_at IS NULL OR proven_at < resumed_at)))
      RETURNING image`,
    [image, engine_id, reason, new_engine],
  );
  return rows.length > 0;
}

/**
 * Notes that the image is proven, as soon as one engine has been well on it for `probation_s`: an upgraded one, because
 * a new brain tells nothing of old ones; or any, where no engine is left on another image.
 */
export async function noteProven(sql: Sql, image: string, probation_s: number): Promise<void> {
  await sql.query(
    `UPDATE rollouts r SET proven_at = now()
      WHERE image = $1 AND halted_at IS NULL AND (proven_at IS NULL OR proven_at < resumed_at)
        AND EXISTS (SELECT FROM engines e
                     WHERE e.engine_version = r.image AND e.status = 'running'
                       AND (e.upgrade_image = r.image OR NOT EXISTS (
                         SELECT FROM engines old WHERE ${follows('old')} AND old.engine_version <> r.image))
                       AND e.well_since BETWEEN r.resumed_at AND now() - make_interval(secs => $2))`,
    [image, probation_s],
  );
}

/** A running or lightly sleeping engine that a roll-out is to upgrade. */
export type OutdatedEngine = Pick<EngineRow, 'id' | 'status' | 'url' | 'engine_key_enc' | 'sleep_depth'>;

/**
 * Claims up to `limit` engines that have a process and are due for an upgrade; they are looked at again in
 * `again_in_s`. What another replica claims in the same moment is skipped.
 */
export async function claimOutdated(
  sql: Sql,
  { image, resumed_at }: RolloutRow,
  limit: number,
  again_in_s: number,
): Promise<OutdatedEngine[]> {
  return await sql.query<OutdatedEngine>(
    `UPDATE engines SET next_upgrade_at = now() + make_interval(secs => $4)
      WHERE id IN (SELECT e.id FROM engines e JOIN products p ON p.id = e.product_id
                    WHERE ${follows('e')} AND e.engine_version <> $1 AND e.next_upgrade_at <= now()
                      AND (e.status = 'running' OR (e.status = 'sleeping' AND e.sleep_depth <> 'hibernate'))
                      AND (e.upgrade_image IS DISTINCT FROM $1 OR e.upgrade_at < $2)
                      AND (p.policy->'allowed_versions' IS NULL OR p.policy->'allowed_versions' ? $1)
                      AND ${SETTLED}
                    ORDER BY e.next_upgrade_at, e.id LIMIT $3 FOR UPDATE OF e SKIP LOCKED)
      RETURNING id, status, url, engine_key_enc, sleep_depth`,
    [image, resumed_at, limit, again_in_s],
  );
}

/** Notes that an engine's copy from before its upgrade is there, and for how long. */
export async function keepSnapshot(sql: Sql, engine_id: string, seconds: number): Promise<void> {
  await sql.query('UPDATE engines SET snapshot_until = now() + make_interval(secs => $2) WHERE id = $1', [
    engine_id,
    seconds,
  ]);
}

/** Engines whose copy's time is over and that nobody needs it for; at most `limit`. */
export async function expiredSnapshots(
  sql: Sql,
  limit: number,
): Promise<Pick<EngineRow, 'id' | 'epoch' | 'engine_version'>[]> {
  return await sql.query(
    `SELECT e.id, e.epoch, e.engine_version FROM engines e
      WHERE e.snapshot_until <= now() AND NOT e.revert_due AND ${SETTLED} ORDER BY e.snapshot_until LIMIT $1`,
    [limit],
  );
}

/** Notes that the copy is gone; not when an upgrade has begun since, which makes another. */
export async function noteSnapshotGone(sql: Sql, engine_id: string, epoch: number): Promise<void> {
  await sql.query(
    'UPDATE engines e SET snapshot_until = NULL WHERE id = $1 AND epoch = $2 AND NOT revert_due',
    [engine_id, epoch],
  );
}

/** Engines by image, for the monitoring; without tombstones, with the warm pool. */
export async function countByVersion(sql: Sql): Promise<{ image: string; count: number }[]> {
  return await sql.query(
    `SELECT engine_version AS image, count(*)::int AS count FROM engines
      WHERE tombstone_until IS NULL GROUP BY 1 ORDER BY 1`,
  );
}
