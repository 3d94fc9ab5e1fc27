/**
 * Works on operations that are committed: walks their steps, notes how far it got, writes how they ended.
 *
 * An operation ends exactly once, in one transaction with the engine's new state and the audit row. Two
 * things leave it unfinished on purpose: this process is ending, or the database is away. Neither says
 * anything about the engine, so neither is a failure; the steps are walked again later, from the first.
 */
import { appendAudit } from '../audit/append.ts';
import { isErrorCode, OrchestratorError } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import { deleteEngine, type EngineRow, engineById, updateEngine } from '../registry/engines.ts';
import {
  beginAttempt,
  endOperation,
  noteStep,
  type OperationKind,
  type OperationRow,
  operationById,
  unfinishedOperations,
} from '../registry/operations.ts';
import { boots, OPERATIONS } from './machine.ts';
import { PortTaken, perform, type StepContext, type StepDeps } from './steps.ts';

/** An operation taken up this often without an end brings its orchestrator down; it is given up. */
const MAX_ATTEMPTS = 10;
/** Pause before the database is asked again, milliseconds. */
const DATABASE_RETRY_MS = 500;
/** How often an operation that another orchestrator works on is looked at, milliseconds. */
const JOIN_POLL_MS = 200;
/** How long past its deadline such an operation is waited for, milliseconds. */
const JOIN_GRACE_MS = 10_000;
/** Operations taken from the queue at a time: a start with many engines must not starve the requests. */
const QUEUE_WORKERS = 2;
/** An engine that did not get ready has no turns to finish, seconds. */
const FAILED_BOOT_GRACE_S = 3;
/** How long `close` waits for steps that cannot be interrupted, milliseconds. */
const CLOSE_TIMEOUT_MS = 2_000;

export type RunnerDeps = StepDeps & { log: Log; boot_timeout_s: number };

export type Runner = {
  /** Works on an operation now, in the background; asked twice it does it once. */
  take(id: string): void;
  /** Works on it when its turn comes; a caller who waits for it brings it forward. */
  enqueue(id: string): void;
  /** Takes up everything that an earlier orchestrator left unfinished. */
  resume(): Promise<void>;
  /** Waits for the end of an operation, whoever works on it; throws its error when it failed. */
  outcome(id: string): Promise<OperationRow>;
  /** Seconds an operation of this kind may take. */
  deadlineOf(kind: OperationKind): number;
  /** Lets go. What is unfinished stays so for the next start; whoever waits gets `NOT_READY`. */
  close(): Promise<void>;
};

export function startRunner(deps: RunnerDeps): Runner {
  const { db, backend, clock, log } = deps;
  const closing = new AbortController();
  /** What this process works on. */
  const underWay = new Map<string, Promise<OperationRow>>();
  const queue = new Set<string>();
  let workers = 0;

  function deadlineOf(kind: OperationKind): number {
    const { deadline } = OPERATIONS[kind];
    return deadline === 'ORCH_BOOT_TIMEOUT_S' ? deps.boot_timeout_s : deadline;
  }

  function work(id: string): Promise<OperationRow> {
    const current = underWay.get(id);
    if (current !== undefined) return current;
    queue.delete(id);
    const ended = untilEnded(id).finally(() => underWay.delete(id));
    underWay.set(id, ended);
    // Those who wait for it get the error too, but there may be none.
    ended.catch((error) => log.warn({ operation_id: id, err: error }, 'operation left unfinished'));
    return ended;
  }

  async function workOffQueue(): Promise<void> {
    workers += 1;
    for (const id of queue) await work(id).catch(() => undefined);
    workers -= 1;
  }

  async function outcome(id: string): Promise<OperationRow> {
    const mine = underWay.get(id) ?? (queue.has(id) ? work(id) : undefined);
    const operation = await (mine ?? watch(id));
    if (operation.outcome === 'succeeded') return operation;
    const code = operation.error_code ?? '';
    throw new OrchestratorError(
      isErrorCode(code) ? code : 'INTERNAL_ERROR',
      operation.error_message ?? 'The operation failed.',
    );
  }

  /** Looks at an operation of another orchestrator until it has ended. */
  async function watch(id: string): Promise<OperationRow> {
    for (;;) {
      const operation = await find(id);
      if (operation.outcome !== null) return operation;
      if (Date.now() > operation.deadline.getTime() + JOIN_GRACE_MS) {
        throw new OrchestratorError('NOT_READY', `The ${operation.kind} under way is past its deadline.`);
      }
      await clock.sleep(JOIN_POLL_MS, closing.signal).catch(throwReason(closing.signal));
    }
  }

  async function untilEnded(id: string): Promise<OperationRow> {
    for (;;) {
      try {
        return await attempt(id);
      } catch (error) {
        if (closing.signal.aborted || !isNotReady(error)) throw error;
        await clock.sleep(DATABASE_RETRY_MS, closing.signal).catch(throwReason(closing.signal));
      }
    }
  }

  async function attempt(id: string): Promise<OperationRow> {
    const found = await find(id);
    const operation = await beginAttempt(db, id, deadlineOf(found.kind));
    if (operation === null) return await find(id);
    const engine = await engineById(db, operation.engine_id);
    const evidence: StepContext['evidence'] = {};
    const began = clock.now();
    const error = await walk(operation, engine, evidence);
    const duration_ms = Math.round(clock.now() - began);
    if (error !== null && boots(operation.kind)) {
      // A process that hangs holds its port and its brain.
      await backend.stop(operation.engine_id, FAILED_BOOT_GRACE_S).catch((cause) => {
        log.warn({ operation_id: id, err: cause }, 'a failed boot could not be cleaned up');
      });
    }
    return await end(operation, evidence, error, duration_ms);
  }

  /** Walks the steps. Gives why the operation failed, or null; throws what leaves it unfinished. */
  async function walk(
    operation: OperationRow,
    engine: EngineRow | null,
    evidence: StepContext['evidence'],
  ): Promise<OrchestratorError | null> {
    if (engine === null) return new OrchestratorError('ENGINE_NOT_FOUND', 'The engine is gone.');
    if (operation.attempt > MAX_ATTEMPTS) {
      return new OrchestratorError('BACKEND_ERROR', `Given up after ${MAX_ATTEMPTS} attempts.`);
    }
    const overdue = new AbortController();
    const signal = AbortSignal.any([closing.signal, overdue.signal]);
    const context = { engine, epoch: operation.epoch, signal, evidence };
    const done = new AbortController();
    const deadline_s = deadlineOf(operation.kind);
    const alarm = clock.sleep(deadline_s * 1000, done.signal).then(() => {
      const code = boots(operation.kind) ? 'BOOT_TIMEOUT' : 'BACKEND_ERROR';
      const seen = evidence.last_probe === undefined ? '' : ` Last seen: ${evidence.last_probe}.`;
      const late = `The ${operation.kind} did not end within ${deadline_s} s.${seen}`;
      const error = new OrchestratorError(code, late);
      overdue.abort(error);
      throw error;
    });
    try {
      await Promise.race([walkSteps(operation, context), alarm]);
      return null;
    } catch (error) {
      const reason = signal.aborted ? signal.reason : error;
      if (isNotReady(reason)) throw reason;
      if (reason instanceof OrchestratorError) return reason;
      log.error({ operation_id: operation.id, kind: operation.kind, err: reason }, 'operation failed');
      const what = reason instanceof Error && 'code' in reason ? ` (${reason.code})` : '';
      return new OrchestratorError('BACKEND_ERROR', `The backend could not do the ${operation.kind}${what}.`);
    } finally {
      done.abort();
      alarm.catch(() => undefined);
    }
  }

  async function walkSteps(operation: OperationRow, context: StepContext): Promise<void> {
    const { steps } = OPERATIONS[operation.kind];
    for (;;) {
      try {
        for (const step of steps) {
          context.signal.throwIfAborted();
          await noteStep(db, operation.id, step, context.evidence);
          await perform(step, deps, context);
        }
        return;
      } catch (error) {
        if (!(error instanceof PortTaken)) throw error;
      }
    }
  }

  /** Ends an operation: outcome, state and audit row in one transaction. */
  async function end(
    operation: OperationRow,
    evidence: StepContext['evidence'],
    error: OrchestratorError | null,
    duration_ms: number,
  ): Promise<OperationRow> {
    const { kind, engine_id } = operation;
    const { success, failure, audit } = OPERATIONS[kind];
    const boot_duration_ms = error === null && boots(kind) ? duration_ms : undefined;
    return await db.tx(async (sql) => {
      const ended = await endOperation(sql, operation.id, { evidence, error });
      if (ended === null) return await find(operation.id);
      if (error !== null) {
        if (failure !== undefined) {
          await updateEngine(sql, engine_id, { status: failure, failure_reason: error.message });
        }
      } else if (success === null) {
        await deleteEngine(sql, engine_id);
      } else if (success === 'running') {
        await updateEngine(sql, engine_id, {
          status: success,
          url: evidence.url,
          boot_duration_ms,
          failure_reason: null,
          last_health_at: new Date(),
        });
      } else {
        await updateEngine(sql, engine_id, { status: success, failure_reason: null });
      }
      await appendAudit(sql, {
        timestamp: operation.created_at,
        product_id: operation.product_id,
        user_id: operation.user_id,
        engine_id,
        action: error === null ? audit.success : audit.failure,
        actor: operation.actor,
        metadata: {
          operation_id: operation.id,
          outcome: ended.outcome,
          epoch: operation.epoch,
          boot_duration_ms,
          error: error === null ? undefined : { code: error.code, message: error.message },
        },
        duration_ms,
      });
      return ended;
    });
  }

  async function find(id: string): Promise<OperationRow> {
    const operation = await operationById(db, id);
    if (operation === null) throw new TypeError(`operation ${id} does not exist`);
    return operation;
  }

  return {
    take: (id) => void work(id),
    enqueue(id) {
      queue.add(id);
      if (workers < QUEUE_WORKERS) void workOffQueue();
    },
    async resume() {
      for (const { id, kind, step } of await unfinishedOperations(db)) {
        log.info({ operation_id: id, kind, step }, 'operation taken up again');
        void work(id);
      }
    },
    outcome,
    deadlineOf,
    async close() {
      closing.abort(new OrchestratorError('NOT_READY', 'The orchestrator is stopping.'));
      queue.clear();
      const limit = new AbortController();
      const patience = clock.sleep(CLOSE_TIMEOUT_MS, limit.signal).catch(() => undefined);
      await Promise.race([Promise.allSettled(underWay.values()), patience]);
      limit.abort();
    },
  };
}

const isNotReady = (error: unknown) => error instanceof OrchestratorError && error.code === 'NOT_READY';

/** A sleep that was cut short says so in its own words; what matters is why. */
const throwReason = (signal: AbortSignal) => (error: unknown) => {
  throw signal.aborted ? signal.reason : error;
};
