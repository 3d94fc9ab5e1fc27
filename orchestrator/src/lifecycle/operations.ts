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
import { hashKey, newEngineKey } from '../keys/formats.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Db, Sql } from '../registry/db.ts';
import {
  type EngineRow,
  insertEngine,
  lockEngine,
  type SleepDepth,
  updateEngine,
} from '../registry/engines.ts';
import { findOnce, keepOnce, type OnceRequest, takeOnce } from '../registry/idempotency.ts';
import {
  insertOperation,
  type OperationKind,
  type OperationRow,
  operationById,
  unfinishedOperation,
} from '../registry/operations.ts';
import type { ProductRow } from '../registry/products.ts';
import { type Change, decide, isDeeper, OPERATIONS, stepsOf } from './machine.ts';
import { isThere } from './presence.ts';
import { countBeginning, type FailureEvidence, failRunning } from './restarts.ts';
import type { Runner } from './runner.ts';

/** `quiet_s`: for how long the engine must have been quiet, seconds; with 0 only what goes on now counts. */
export type SleepWish = { depth: SleepDepth; quiet_s: number };

export type Lifecycle = {
  /** Begins a provision. Throws `ENGINE_ALREADY_EXISTS`, or `QUOTA_EXCEEDED` at the product's `max_engines`. */
  provision(
    product: ProductRow,
    user_id: string,
    engine_version: string,
    once?: OnceRequest | null,
  ): Promise<OperationRow>;
  /**
   * Begins `kind` on an engine, or joins what leads to the same end. Throws the machine's refusal, or
   * `ENGINE_NOT_FOUND`. `actor`: product slug or `system`.
   */
  change(
    kind: Exclude<Change, 'sleep'>,
    engine_id: string,
    actor: string,
    once?: OnceRequest | null,
  ): Promise<OperationRow>;
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
  isThere(engine: EngineRow): Promise<boolean>;
  /** What the backend says of the engine's process, now. */
  presence(engine_id: string): Promise<Presence>;
  /** Waits for the end of an operation; throws its error when it failed. */
  outcome(operation_id: string): Promise<OperationRow>;
};

export function openLifecycle(deps: {
  db: Db;
  master_keys: MasterKeys;
  runner: Runner;
  backend: Backend;
  restarts: RestartPolicy;
  failpoint: HitFailpoint;
  /** When this orchestrator started, by the database's clock. */
  since: Date;
}): Lifecycle {
  const { db, runner, failpoint } = deps;
  const fail: Lifecycle['fail'] = (engine_id, epoch, reason, evidence) =>
    db.tx((sql) => failRunning(sql, deps.restarts, { engine_id, epoch, reason, evidence }));

  return {
    async provision(product, user_id, engine_version, once = null) {
      const api_key = newEngineKey();
      return await begin(once, async (sql) => {
        const engine = await insertEngine(sql, {
          product_id: product.id,
          user_id,
          engine_version,
          key_hash: hashKey(api_key),
          engine_key_enc: deps.master_keys.seal(api_key),
        });
        if (engine === 'exists') {
          throw new OrchestratorError(OPERATIONS.provision.refusal, 'The user has an engine; use admit.');
        }
        if (engine === 'at_quota') {
          const cap = product.policy.max_engines;
          throw new OrchestratorError('QUOTA_EXCEEDED', `Product at max_engines limit (${cap}).`);
        }
        return { operation: await commit(sql, 'provision', engine, product.slug), begun: true };
      });
    },

    change: (kind, engine_id, actor, once = null) =>
      begin(once, (sql) => beginOrJoin(sql, kind, engine_id, actor)),

    async earlier(once) {
      const result = await findOnce(db, once);
      return result?.operation_id ? await operationById(db, result.operation_id) : null;
    },

    sleep: (engine_id, wish, actor, once = null) =>
      begin(once, (sql) => beginOrJoin(sql, 'sleep', engine_id, actor, wish)),

    fail,

    presence: (engine_id) => deps.backend.is_running(engine_id),

    isThere: (engine) => isThere({ ...deps, fail }, engine),

    outcome: (operation_id) => runner.outcome(operation_id),
  };

  async function begin(
    once: OnceRequest | null,
    work: (sql: Sql) => Promise<{ operation: OperationRow; begun: boolean }>,
  ): Promise<OperationRow> {
    failpoint('begin.before');
    const { operation, begun } = await db.tx(async (sql) => {
      if (once === null) return await work(sql);
      const id = (await takeOnce(sql, once))?.operation_id;
      const earlier = id ? await operationById(sql, id) : null;
      if (earlier !== null) return { operation: earlier, begun: false };
      const result = await work(sql);
      await keepOnce(sql, once, { operation_id: result.operation.id });
      return result;
    });
    failpoint('begin.committed');
    if (begun) runner.take(operation.id);
    return operation;
  }

  async function beginOrJoin(
    sql: Sql,
    kind: Change,
    engine_id: string,
    actor: string,
    sleep: SleepWish | null = null,
  ) {
    const engine = await lockEngine(sql, engine_id);
    if (engine === null) throw new OrchestratorError('ENGINE_NOT_FOUND', 'The user has no engine.');
    const underWay = await unfinishedOperation(sql, engine_id);
    const decision = decide(kind, engine.status, underWay);
    switch (decision.verdict) {
      case 'begin':
        return {
          operation: await commit(sql, kind, await bound(sql, engine, sleep), actor, sleep),
          begun: true,
        };
      case 'join':
        return { operation: decision.operation, begun: false };
      case 'refuse': {
        const what = underWay === null ? '' : `, with a ${underWay.kind} under way`;
        throw new OrchestratorError(decision.code, `The engine is ${engine.status}${what}.`);
      }
    }
  }

  /** The engine, with the depth it is bound for in its row: admits see it there (registry/sleep.ts). */
  async function bound(sql: Sql, engine: EngineRow, sleep: SleepWish | null): Promise<EngineRow> {
    if (sleep === null) return engine;
    const { depth } = sleep;
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
    sleep: SleepWish | null = null,
  ) {
    const { during, audit } = OPERATIONS[kind];
    if (during !== undefined) await updateEngine(sql, engine.id, { status: during });
    await countBeginning(sql, kind, engine.id);
    const operation = await insertOperation(sql, {
      engine_id: engine.id,
      product_id: engine.product_id,
      user_id: engine.user_id,
      kind,
      actor,
      step: stepsOf(kind, engine.sleep_depth)[0],
      // The claim gives it a new one where it needs one.
      epoch: engine.epoch,
      deadline_s: runner.deadlineOf(kind),
      quiet_s: sleep?.quiet_s ?? null,
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
