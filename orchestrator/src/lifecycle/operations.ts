/**
 * Durable operations: every change of an engine's life begins here.
 *
 * The problem: a change has side effects (a port, a process, a folder) that no database transaction covers,
 * and the orchestrator may die between any two of them. The rule: before the first side effect one
 * transaction commits the operation's row together with the change of state; the steps can be done twice;
 * one transaction ends the operation (runner.ts). Whoever comes up finds the unfinished row and walks its
 * steps again. Without it a crash leaves an engine `provisioning` for ever, or a process nobody knows of.
 *
 * A unique index allows one unfinished operation for an engine, so any number of callers with the same wish
 * cause one side effect: the first begins, the others join and get its outcome (O7, O21).
 */
import { appendAudit } from '../audit/append.ts';
import type { Backend, Presence } from '../backends/contract.ts';
import type { RestartPolicy } from '../config.ts';
import { OrchestratorError } from '../errors.ts';
import type { HitFailpoint } from '../failpoints.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Db, Sql } from '../registry/db.ts';
import { keepNextKey } from '../registry/engine_keys.ts';
import {
  type EngineRow,
  insertEngine,
  lockEngine,
  type SleepDepth,
  updateEngine,
} from '../registry/engines.ts';
import type { ClaimedRestart } from '../registry/health.ts';
import { findOnce, keepOnce, type OnceRequest, takeOnce } from '../registry/idempotency.ts';
import {
  destroyFailed,
  insertOperation,
  type OperationKind,
  type OperationRow,
  operationById,
  unfinishedOperation,
} from '../registry/operations.ts';
import { type ProductRow, productById } from '../registry/products.ts';
import { takePlace } from '../registry/rollouts.ts';
import { expiredTombstones, expireTombstones, raiseTombstone } from '../registry/tombstones.ts';
import { claimWarmEngine } from '../registry/warm_pool.ts';
import {
  actsOnTombstones,
  type Change,
  deadlineOf,
  decide,
  isDeeper,
  OPERATIONS,
  stepsOf,
} from './machine.ts';
import { newEngine, newKey } from './new_engine.ts';
import { type ClaimedToRun, isThere } from './presence.ts';
import { countBeginning, type FailureEvidence, failRunning } from './restarts.ts';
import type { Runner } from './runner.ts';

/** `quiet_s`: for how long the engine must have been quiet, seconds; with 0 only what goes on now counts. */
export type SleepWish = { depth: SleepDepth; quiet_s: number };

/** Begins an operation on an engine without an owner; the caller holds its row. */
export type BeginInPool = (kind: 'provision' | 'destroy', engine: EngineRow) => Promise<void>;

export type Lifecycle = {
  /**
   * Begins a provision: of a ready engine from the warm pool, or else of a new one. Throws `ENGINE_ALREADY_EXISTS`,
   * or `QUOTA_EXCEEDED` at the product's `max_engines`.
   */
  provision(
    product: ProductRow,
    user_id: string,
    version: Pick<EngineRow, 'engine_version' | 'version_pinned'>,
    once?: OnceRequest | null,
  ): Promise<OperationRow>;
  /**
   * Begins `kind` on an engine, or joins what leads to the same end. Throws the machine's refusal, or
   * `ENGINE_NOT_FOUND`. `actor`: product slug or `system`. What boots an engine in any case may turn out to be an
   * upgrade, where the current roll-out has a place for it.
   */
  change(
    kind: Exclude<Change, 'sleep' | 'retire' | 'purge' | 'upgrade' | 'rollback'>,
    engine_id: string,
    actor: string,
    once?: OnceRequest | null,
  ): Promise<OperationRow>;
  /**
   * Begins the upgrade of an engine to the image of the current roll-out; null when that has no place for it, or the
   * engine is otherwise engaged. Its outcome is `OPERATION_IN_PROGRESS` when it turns out to be at work.
   */
  upgrade(engine_id: string, quiet_s: number): Promise<OperationRow | null>;
  /**
   * Begins the restart that was claimed. Throws the machine's refusal when the claim no longer stands: since then
   * somebody else has restarted the engine, and if that failed, its next pause must not be cut short.
   */
  restartClaimed(claimed: ClaimedRestart): Promise<OperationRow>;
  /** Begins or joins a destroy that leaves a tombstone, for `retain_s` seconds. As `change`. */
  retire(
    engine_id: string,
    retain_s: number,
    actor: string,
    once?: OnceRequest | null,
  ): Promise<OperationRow>;
  /**
   * Begins the restore of a tombstone. Throws `ENGINE_ALREADY_EXISTS`, `QUOTA_EXCEEDED`, or `ENGINE_NOT_FOUND` when
   * its time is over.
   */
  restore(product: ProductRow, engine_id: string, once?: OnceRequest | null): Promise<OperationRow>;
  /**
   * Begins or joins the final removal of all tombstones of a user; none of them can be restored from now on. Gives
   * the operations, that on the engine destroyed last first. Throws `ENGINE_NOT_FOUND` when there are none.
   */
  erase(product: ProductRow, user_id: string, once?: OnceRequest | null): Promise<OperationRow[]>;
  /** Begins the final removal of up to `limit` tombstones whose time is over, of any product. */
  purge(limit: number): Promise<OperationRow[]>;
  /**
   * The operation that an earlier request with this key began or joined; null when there was none, which `change`
   * and `provision` make sure of again. Throws `IDEMPOTENCY_KEY_REUSED`.
   */
  earlier(once: OnceRequest): Promise<OperationRow | null>;
  /**
   * Begins or joins a sleep, or a deeper one. As `change`; its outcome is `OPERATION_IN_PROGRESS` when the engine
   * turns out to be at work.
   */
  sleep(engine_id: string, wish: SleepWish, actor: string, once?: OnceRequest | null): Promise<OperationRow>;
  /**
   * Marks a `running` engine `failed` and plans its restart, in one transaction. False, without effect, when
   * it does not run at `epoch` any more or an operation is under way on it.
   */
  fail(engine_id: string, epoch: number, reason: string, evidence: FailureEvidence): Promise<boolean>;
  /**
   * Whether a `running` engine may be handed out. False when it turns out to be gone; it is `failed` then.
   * Where that cannot be found out it counts as there (O12).
   */
  isThere(engine: ClaimedToRun): Promise<boolean>;
  /** Begins what `work` says in one transaction, for the warm pool (warm_pool.ts). */
  tendPool(work: (sql: Sql, begin: BeginInPool) => Promise<void>): Promise<void>;
  /** What the backend says of the engine's process, now. */
  presence(engine_id: string): Promise<Presence>;
  /** Waits for the end of an operation; throws its error when it failed. */
  outcome(operation_id: string): Promise<OperationRow>;
};

/** An operation that was begun or joined, and all that were begun with it. */
type Begun = { operation: OperationRow; begun: readonly OperationRow[] };

const only = (operation: OperationRow): Begun => ({ operation, begun: [operation] });

/** It has no process by its state, so there is nobody to ask, and its upgrade begins with the step `stop`. */
const isDown = ({ status, sleep_depth }: EngineRow) => status === 'stopped' || sleep_depth === 'hibernate';

/**
 * An upgrade makes nobody wait who would not wait for a boot in any case. And an engine whose data is not its own yet
 * has none to keep a copy of.
 */
const bootsAnyway = (kind: OperationKind, engine: EngineRow) =>
  (kind === 'wake' || kind === 'start') && isDown(engine) && !engine.revert_due;

/** Why the product has no place for one more engine; by what is now: the caller's row may be older. */
async function noPlace(sql: Sql, product_id: string): Promise<OrchestratorError> {
  const product = await productById(sql, product_id);
  if (product === null) return new OrchestratorError('INVALID_PLATFORM_KEY', 'The product has been deleted.');
  // Lifted in this very moment: try again.
  const limit = product.policy.max_engines ?? 'lifted by now';
  return new OrchestratorError('QUOTA_EXCEEDED', `Product at max_engines limit (${limit}).`);
}

export function openLifecycle(deps: {
  db: Db;
  master_keys: MasterKeys;
  runner: Runner;
  backend: Backend;
  restarts: RestartPolicy;
  boot_timeout_s: number;
  /** Of ORCH_UPGRADE_CANARY_PERCENT. */
  canary_percent: number;
  /** Of ORCH_UPGRADE_PROBATION_S. */
  probation_s: number;
  failpoint: HitFailpoint;
  /** When this orchestrator started, by the database's clock. */
  since: Date;
}): Lifecycle {
  const { db, runner, failpoint } = deps;
  const fail: Lifecycle['fail'] = (engine_id, epoch, reason, evidence) =>
    db.tx((sql) => failRunning(sql, deps.restarts, deps.probation_s, { engine_id, epoch, reason, evidence }));

  return {
    async provision(product, user_id, version, once = null) {
      return await begin(once, async (sql) => {
        const owner = { product_id: product.id, user_id };
        const ready = await claimWarmEngine(sql, { ...owner, ...version });
        const engine =
          ready ?? (await insertEngine(sql, { ...owner, ...newEngine(deps.master_keys, version) }));
        if (engine === 'exists') {
          throw new OrchestratorError(OPERATIONS.provision.refusal, 'The user has an engine; use admit.');
        }
        if (engine === 'at_quota') throw await noPlace(sql, product.id);
        return only(await commit(sql, 'provision', engine, product.slug, { warm: ready !== null }));
      });
    },

    change: (kind, engine_id, actor, once = null) =>
      begin(once, (sql) => beginOrJoin(sql, kind, engine_id, actor)),

    async upgrade(engine_id, quiet_s) {
      const operation = await db.tx(async (sql) => {
        const engine = await lockEngine(sql, engine_id);
        if (engine === null || (await unfinishedOperation(sql, engine_id)) !== null) return null;
        if (decide('upgrade', engine.status, null).verdict !== 'begin') return null;
        const image = await takePlace(sql, engine, deps.canary_percent);
        return image === null ? null : await commit(sql, 'upgrade', engine, 'system', { image, quiet_s });
      });
      if (operation === null) return null;
      failpoint('begin.committed');
      runner.take(operation.id);
      return operation;
    },

    restartClaimed: ({ engine_id, restart_at }) =>
      begin(null, (sql) => beginOrJoin(sql, 'restart', engine_id, 'system', { restart_at })),

    retire: (engine_id, retain_s, actor, once = null) =>
      begin(once, (sql) => beginOrJoin(sql, 'retire', engine_id, actor, { retain_s })),

    restore: (product, engine_id, once = null) =>
      begin(once, async (sql) => {
        const engine = await raiseTombstone(sql, product.id, engine_id);
        if (engine === 'exists') {
          throw new OrchestratorError(OPERATIONS.restore.refusal, 'The user has an engine again.');
        }
        if (engine === 'at_quota') throw await noPlace(sql, product.id);
        if (engine === null) throw new OrchestratorError('ENGINE_NOT_FOUND', 'It is too late to restore it.');
        return only(await commit(sql, 'restore', engine, product.slug));
      }),

    async erase(product, user_id, once = null) {
      const others: OperationRow[] = [];
      const last = await begin(once, async (sql) => {
        const ids = await expireTombstones(sql, product.id, user_id);
        const results = await purgeAll(sql, ids, product.slug);
        const [first, ...rest] = results.map(({ operation }) => operation);
        if (first === undefined) {
          throw new OrchestratorError(
            'ENGINE_NOT_FOUND',
            'The user has no engine, nor had one that is kept.',
          );
        }
        others.push(...rest);
        return { operation: first, begun: results.flatMap(({ begun }) => begun) };
      });
      return [last, ...others];
    },

    async purge(limit) {
      const results = await db.tx(async (sql) => {
        return await purgeAll(sql, await expiredTombstones(sql, limit), 'system');
      });
      const begun = results.flatMap(({ begun }) => begun);
      for (const { id } of begun) runner.take(id);
      return begun;
    },

    async earlier(once) {
      const result = await findOnce(db, once);
      return result?.operation_id ? await operationById(db, result.operation_id) : null;
    },

    sleep: (engine_id, wish, actor, once = null) =>
      begin(once, (sql) => beginOrJoin(sql, 'sleep', engine_id, actor, { sleep: wish })),

    fail,

    async tendPool(work) {
      const begun: OperationRow[] = [];
      await db.tx((sql) =>
        work(sql, async (kind, engine) => {
          begun.push(await commit(sql, kind, engine, 'system'));
        }),
      );
      if (begun.length > 0) failpoint('begin.committed');
      for (const { id } of begun) runner.take(id);
    },

    presence: (engine_id) => deps.backend.is_running(engine_id),

    isThere: (engine) => isThere({ ...deps, fail }, engine),

    outcome: (operation_id) => runner.outcome(operation_id),
  };

  async function begin(once: OnceRequest | null, work: (sql: Sql) => Promise<Begun>): Promise<OperationRow> {
    failpoint('begin.before');
    const { operation, begun } = await db.tx(async (sql) => {
      if (once === null) return await work(sql);
      const id = (await takeOnce(sql, once))?.operation_id;
      const earlier = id ? await operationById(sql, id) : null;
      if (earlier !== null) return { operation: earlier, begun: [] };
      const result = await work(sql);
      await keepOnce(sql, once, { operation_id: result.operation.id });
      return result;
    });
    failpoint('begin.committed');
    for (const { id } of begun) runner.take(id);
    return operation;
  }

  async function beginOrJoin(
    sql: Sql,
    kind: Change,
    engine_id: string,
    actor: string,
    wish: { sleep?: SleepWish; retain_s?: number; restart_at?: Date } = {},
  ): Promise<Begun> {
    const engine = await lockEngine(sql, engine_id);
    if (engine === null || (engine.tombstone_until !== null && !actsOnTombstones(kind))) {
      throw new OrchestratorError('ENGINE_NOT_FOUND', 'The user has no engine.');
    }
    const underWay = await unfinishedOperation(sql, engine_id);
    const decision = decide(kind, engine.status, underWay);
    switch (decision.verdict) {
      case 'begin': {
        if (engine.status === 'failed' && kind !== 'destroy' && (await destroyFailed(sql, engine_id))) {
          // It may lack a part of its data: it neither comes up any more nor is worth a tombstone.
          if (kind === 'retire') return only(await commit(sql, 'destroy', engine, actor));
          throw new OrchestratorError(
            'BACKEND_ERROR',
            'A destroy of the engine failed half-way: repeat that.',
          );
        }
        // Who asks has read the row before; since then others may have used up the last one (O6, O10).
        if (kind === 'restart' && engine.restart_at === null) {
          throw new OrchestratorError(OPERATIONS.restart.refusal, 'No restart of the engine is planned.');
        }
        const { sleep, retain_s, restart_at } = wish;
        if (restart_at !== undefined && restart_at.getTime() !== engine.restart_at?.getTime()) {
          throw new OrchestratorError(OPERATIONS.restart.refusal, 'The restart was planned anew.');
        }
        if (bootsAnyway(kind, engine)) {
          const image = await takePlace(sql, engine, deps.canary_percent);
          if (image !== null) return only(await commit(sql, 'upgrade', engine, actor, { image }));
        }
        const target = sleep === undefined ? engine : await bound(sql, engine, sleep.depth);
        return only(await commit(sql, kind, target, actor, { quiet_s: sleep?.quiet_s, retain_s }));
      }
      case 'join':
        return { operation: decision.operation, begun: [] };
      case 'refuse': {
        const what = underWay === null ? '' : `, with a ${underWay.kind} under way`;
        throw new OrchestratorError(decision.code, `The engine is ${engine.status}${what}.`);
      }
    }
  }

  async function purgeAll(sql: Sql, ids: readonly string[], actor: string): Promise<Begun[]> {
    const results: Begun[] = [];
    for (const id of ids) results.push(await beginOrJoin(sql, 'purge', id, actor));
    return results;
  }

  /** The engine, with the depth it is bound for in its row: admits see it there (registry/sleep.ts). */
  async function bound(sql: Sql, engine: EngineRow, depth: SleepDepth): Promise<EngineRow> {
    if (!isDeeper(depth, engine.sleep_depth)) {
      throw new OrchestratorError(
        OPERATIONS.sleep.refusal,
        `The engine sleeps (${engine.sleep_depth}) already.`,
      );
    }
    await updateEngine(sql, engine.id, { sleep_depth: depth });
    return { ...engine, sleep_depth: depth };
  }

  /** Writes the operation, and what changes with its beginning. The caller holds the engine's row. */
  async function commit(
    sql: Sql,
    kind: OperationKind,
    engine: EngineRow,
    actor: string,
    {
      quiet_s = null,
      retain_s = null,
      warm = false,
      image = null,
    }: {
      quiet_s?: number | null;
      retain_s?: number | null;
      warm?: boolean;
      image?: string | null;
    } = {},
  ) {
    const { during, audit } = OPERATIONS[kind];
    if (during !== undefined) await updateEngine(sql, engine.id, { status: during });
    await countBeginning(sql, kind, engine.id);
    // As a sleep does it (registry/admit.ts): whoever is admitted from here on waits for the upgrade.
    if (kind === 'upgrade' && engine.status === 'running') {
      await updateEngine(sql, engine.id, { sleep_depth: 'hibernate' });
    }
    if (kind === 'rotate-key') await keepNextKey(sql, engine.id, newKey(deps.master_keys));
    const operation = await insertOperation(sql, {
      engine_id: engine.id,
      product_id: engine.product_id,
      user_id: engine.user_id,
      kind,
      actor,
      step: kind === 'upgrade' && isDown(engine) ? 'stop' : stepsOf(kind, engine.sleep_depth, warm)[0],
      // The claim gives it a new one where it needs one.
      epoch: engine.epoch,
      deadline_s: deadlineOf(kind, deps.boot_timeout_s, engine.revert_due),
      quiet_s,
      retain_s,
      warm,
      image,
    });
    if (audit.begin !== undefined) {
      await appendAudit(sql, {
        product_id: engine.product_id,
        user_id: engine.user_id,
        engine_id: engine.id,
        action: audit.begin,
        actor,
        metadata: { operation_id: operation.id },
      });
    }
    return operation;
  }
}
