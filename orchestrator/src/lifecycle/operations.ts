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
import { randomUUID } from 'node:crypto';
import { appendAudit } from '../audit/append.ts';
import { OrchestratorError } from '../errors.ts';
import { hashKey, newEngineKey } from '../keys/formats.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Db, Sql } from '../registry/db.ts';
import { type EngineRow, insertEngine, lockEngine, updateEngine } from '../registry/engines.ts';
import {
  insertOperation,
  type OperationKind,
  type OperationRow,
  unfinishedOperation,
} from '../registry/operations.ts';
import type { ProductRow } from '../registry/products.ts';
import { type Change, decide, OPERATIONS } from './machine.ts';
import type { Runner } from './runner.ts';

export type Lifecycle = {
  /** Begins a provision. Throws `ENGINE_ALREADY_EXISTS`, or `QUOTA_EXCEEDED` at the product's `max_engines`. */
  provision(product: ProductRow, user_id: string, engine_version: string): Promise<OperationRow>;
  /**
   * Begins `kind` on an engine, or joins what leads to the same end. Throws the machine's refusal, or
   * `ENGINE_NOT_FOUND`. `actor`: product slug or `system`.
   */
  change(kind: Change, engine_id: string, actor: string): Promise<OperationRow>;
  /** Notes that a `running` engine is not there, and has it restarted when its turn comes. */
  restartGone(engine_id: string, reason: string): Promise<void>;
  /** Waits for the end of an operation; throws its error when it failed. */
  outcome(operation_id: string): Promise<OperationRow>;
};

export function openLifecycle(deps: { db: Db; master_keys: MasterKeys; runner: Runner }): Lifecycle {
  const { db, runner } = deps;

  return {
    async provision(product, user_id, engine_version) {
      const api_key = newEngineKey();
      const begun = await db.tx(async (sql) => {
        const engine = await insertEngine(sql, {
          id: randomUUID(),
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
        return await commit(sql, 'provision', engine, product.slug);
      });
      runner.take(begun.id);
      return begun;
    },

    async change(kind, engine_id, actor) {
      const { operation, begun } = await db.tx((sql) => beginOrJoin(sql, kind, engine_id, actor));
      if (begun) runner.take(operation.id);
      return operation;
    },

    async restartGone(engine_id, reason) {
      // One transaction: none may stay `failed` because the orchestrator died before it noted the restart.
      const restart = await db.tx(async (sql) => {
        const engine = await lockEngine(sql, engine_id);
        if (engine?.status !== 'running') return null;
        await updateEngine(sql, engine_id, { status: 'failed', failure_reason: reason });
        await appendAudit(sql, {
          product_id: engine.product_id,
          user_id: engine.user_id,
          engine_id,
          action: 'health_failed',
          actor: 'system',
          metadata: { reason, epoch: engine.epoch },
        });
        return await beginOrJoin(sql, 'restart', engine_id, 'system');
      });
      if (restart?.begun) runner.enqueue(restart.operation.id);
    },

    outcome: (operation_id) => runner.outcome(operation_id),
  };

  async function beginOrJoin(sql: Sql, kind: Change, engine_id: string, actor: string) {
    const engine = await lockEngine(sql, engine_id);
    if (engine === null) throw new OrchestratorError('ENGINE_NOT_FOUND', 'The user has no engine.');
    const underWay = await unfinishedOperation(sql, engine_id);
    const decision = decide(kind, engine.status, underWay);
    switch (decision.verdict) {
      case 'begin':
        return { operation: await commit(sql, kind, engine, actor), begun: true };
      case 'join':
        return { operation: decision.operation, begun: false };
      case 'refuse': {
        const what = underWay === null ? '' : `, with a ${underWay.kind} under way`;
        throw new OrchestratorError(decision.code, `The engine is ${engine.status}${what}.`);
      }
    }
  }

  /** Writes the operation, and what changes with its beginning. The caller holds the engine's row. */
  async function commit(sql: Sql, kind: OperationKind, engine: EngineRow, actor: string) {
    const { during, success, steps, audit } = OPERATIONS[kind];
    // Each start is a new epoch (O22); a new row begins with its first.
    const epoch = success === 'running' && kind !== 'provision' ? engine.epoch + 1 : engine.epoch;
    await updateEngine(sql, engine.id, { status: during ?? engine.status, epoch });
    const operation = await insertOperation(sql, {
      engine_id: engine.id,
      product_id: engine.product_id,
      user_id: engine.user_id,
      kind,
      actor,
      step: steps[0],
      epoch,
      deadline_s: runner.deadlineOf(kind),
    });
    if (audit.begin !== undefined) {
      await appendAudit(sql, {
        product_id: engine.product_id,
        user_id: engine.user_id,
        engine_id: engine.id,
        action: audit.begin,
        actor,
        metadata: { operation_id: operation.id, epoch },
      });
    }
    return operation;
  }
}
