/**
 * One replica's work on one operation it has claimed: walks the steps, notes how far it got, writes the end.
 *
 * An operation ends exactly once, in one transaction with the engine's new state and the audit row. Three
 * things leave it unfinished on purpose: this process is ending, the database is away, or the lease was lost,
 * which means that another replica works on it. None says anything about the engine, so none is a failure.
 *
 * Every write carries the lease, every call of the backend the epoch of the claim. A replica that was frozen
 * in the middle and continues after another took its work over finds neither takes effect (O22, O23).
 */
import { appendAudit } from '../audit/append.ts';
import { BackendFault, StaleEpoch } from '../backends/contract.ts';
import type { RestartPolicy } from '../config.ts';
import { OrchestratorError } from '../errors.ts';
import type { HitFailpoint } from '../failpoints.ts';
import type { Log } from '../observe/log.ts';
import type { Tally } from '../observe/tally.ts';
import { swapKey } from '../registry/engine_keys.ts';
import { deleteEngine, type EngineRow, engineById, lockEngine, updateEngine } from '../registry/engines.ts';
import { noteUp, probeSoon } from '../registry/health.ts';
import {
  type Claim,
  type EndedOperation,
  endOperation,
  noteStep,
  type OperationKind,
  type OperationRow,
} from '../registry/operations.ts';
import { releasePort } from '../registry/ports.ts';
import { keepSnapshot, leavePlace } from '../registry/rollouts.ts';
import { lookAgain, noteAsleep } from '../registry/sleep.ts';
import { layToRest } from '../registry/tombstones.ts';
import { auditHalt, failUpgrade, type Halted, haltForNewEngine } from './failed_upgrade.ts';
import { boots, deadlineOf, hasComeTo, OPERATIONS, REVERT_AND_BOOT, stepsFrom, stepsOf } from './machine.ts';
import { planRestart } from './restarts.ts';
import { ProcessGone } from './sleep.ts';
import { PortTaken, perform, type StepContext, type StepDeps } from './steps.ts';

/** An operation claimed this often without an end brings its orchestrator down; it is given up. */
const MAX_ATTEMPTS = 10;
/** The data from before an upgrade is kept this long, seconds: until then somebody will have noticed what it broke. */
const SNAPSHOT_KEPT_S = 24 * 60 * 60;
/** An engine that did not get ready has no turns to finish, seconds. */
const FAILED_BOOT_GRACE_S = 3;

export type AttemptDeps = StepDeps & {
  log: Log;
  tally: Tally;
  failpoint: HitFailpoint;
  restarts: RestartPolicy;
  /** How long an engine may take from its start to good health, seconds. */
  boot_timeout_s: number;
};

/** Another replica has claimed the operation. */
export class LeaseLost extends Error {
  override name = 'LeaseLost';
}

/**
 * Brings a claimed operation to its end; `overdue_at` is its deadline by the clock. Throws `LeaseLost`,
 * `NOT_READY`, or the reason of `signal`; where the database was away it can be asked again with the same claim.
 */
export async function attempt(
  deps: AttemptDeps,
  claim: Claim,
  overdue_at: number,
  signal: AbortSignal,
): Promise<OperationRow> {
  const { db, backend, clock, log } = deps;
  const evidence: StepContext['evidence'] = {};
  const engine = await engineById(db, claim.engine_id);
  const began = clock.now();
  const noted: Noted = { step: claim.step };
  const error = await walk(deps, claim, engine, evidence, noted, overdue_at, signal);
  const duration_ms = Math.round(clock.now() - began);
  if (error !== null && boots(claim.kind) && !leftStanding(claim.kind, noted)) {
    // A process that hangs holds its port and its brain.
    const fence = { epoch: claim.epoch, grace_s: FAILED_BOOT_GRACE_S };
    await backend.stop(claim.engine_id, fence).catch((cause) => {
      log.warn({ operation_id: claim.id, err: cause }, 'a failed boot could not be cleaned up');
    });
  } else if (error !== null && (claim.kind === 'sleep' || claim.kind === 'upgrade')) {
    // One that failed must not leave the engine frozen; and whether it is there is the state to end in.
    const there = await backend.thaw(claim.engine_id, { epoch: claim.epoch }).catch((cause) => {
      log.warn(
        { operation_id: claim.id, err: cause },
        `an engine could not be thawed after a failed ${claim.kind}`,
      );
    });
    if (there === false) evidence.gone = true;
  }
  deps.failpoint('end.before');
  const ended = await end(deps, claim, evidence, error, duration_ms);
  const took_ms = ended.ended_at.getTime() - ended.created_at.getTime();
  deps.tally.operation(ended.kind, ended.outcome, took_ms / 1000);
  deps.failpoint('end.committed');
  return ended;
}

/** The step that was begun last. */
type Noted = { step: string };

/** An upgrade that came to nothing before it told the engine to end. */
const leftStanding = (kind: OperationKind, { step }: Noted) =>
  kind === 'upgrade' && !hasComeTo('upgrade', 'stop', step);

/** Walks the steps. Gives why the operation failed, or null; throws what leaves it unfinished. */
async function walk(
  deps: AttemptDeps,
  claim: Claim,
  engine: EngineRow | null,
  evidence: StepContext['evidence'],
  noted: Noted,
  overdue_at: number,
  outer: AbortSignal,
): Promise<OrchestratorError | null> {
  if (engine === null) return new OrchestratorError('ENGINE_NOT_FOUND', 'The engine is gone.');
  if (claim.attempt > MAX_ATTEMPTS) {
    return new OrchestratorError('BACKEND_ERROR', `Given up after ${MAX_ATTEMPTS} attempts.`);
  }
  const { clock, log } = deps;
  const overdue = new AbortController();
  const signal = AbortSignal.any([outer, overdue.signal]);
  const image = claim.image ?? engine.engine_version;
  const quiet_s = claim.quiet_s ?? 0;
  const { boot_timeout_s } = deps;
  const doesMore = deadlineOf(claim.kind, boot_timeout_s, engine.revert_due) > boot_timeout_s;
  const boot_within_ms = doesMore ? boot_timeout_s * 1000 : Infinity;
  const context = { engine, epoch: claim.epoch, image, boot_within_ms, quiet_s, signal, evidence };
  const done = new AbortController();
  const alarm = clock.sleep(Math.max(0, overdue_at - clock.now()), done.signal).then(() => {
    const error = overdueError(claim, evidence);
    overdue.abort(error);
    throw error;
  });
  // A step that cannot be interrupted goes on, too late to have an effect; who waits must not wait for it.
  const cut = new Promise<never>((_, reject) => {
    const lost = () => outer.reason instanceof LeaseLost && reject(outer.reason);
    outer.addEventListener('abort', lost, { once: true, signal: done.signal });
  });
  try {
    outer.throwIfAborted();
    await Promise.race([walkSteps(deps, claim, context, noted), alarm, cut]);
    return null;
  } catch (error) {
    const reason = signal.aborted ? signal.reason : error;
    if (reason instanceof LeaseLost || isNotReady(reason)) throw reason;
    if (reason instanceof OrchestratorError) return reason;
    if (reason instanceof ProcessGone) {
      evidence.gone = true;
      return new OrchestratorError('BACKEND_ERROR', 'The process of the engine is gone.');
    }
    if (reason instanceof StaleEpoch || reason instanceof BackendFault) {
      return new OrchestratorError('BACKEND_ERROR', reason.message);
    }
    log.error({ operation_id: claim.id, kind: claim.kind, err: reason }, 'operation failed');
    const what = reason instanceof Error && 'code' in reason ? ` (${reason.code})` : '';
    return new OrchestratorError('BACKEND_ERROR', `The backend could not do the ${claim.kind}${what}.`);
  } finally {
    done.abort();
    alarm.catch(() => undefined);
    cut.catch(() => undefined);
  }
}

function overdueError({ kind, created_at, deadline }: Claim, evidence: StepContext['evidence']) {
  const limit_s = Math.round((deadline.getTime() - created_at.getTime()) / 1000);
  const seen = evidence.last_probe === undefined ? '' : ` Last seen: ${evidence.last_probe}.`;
  const code = boots(kind) ? 'BOOT_TIMEOUT' : 'BACKEND_ERROR';
  return new OrchestratorError(code, `The ${kind} did not end within ${limit_s} s.${seen}`);
}

async function walkSteps(deps: AttemptDeps, claim: Claim, context: StepContext, noted: Noted): Promise<void> {
  const { sleep_depth, revert_due } = context.engine;
  let steps =
    revert_due && boots(claim.kind)
      ? REVERT_AND_BOOT
      : stepsFrom(stepsOf(claim.kind, sleep_depth, claim.warm), claim.step);
  for (;;) {
    try {
      for (const step of steps) {
        context.signal.throwIfAborted();
        if (!(await noteStep(deps.db, claim, step, context.evidence))) throw new LeaseLost();
        noted.step = step;
        deps.failpoint(`${step}.before`);
        await perform(step, deps, context);
        deps.failpoint(`${step}.after`);
      }
      return;
    } catch (error) {
      if (error instanceof ProcessGone && claim.kind === 'upgrade') steps = stepsFrom(steps, 'stop');
      else if (error instanceof ProcessGone && boots(claim.kind)) steps = stepsOf(claim.kind, null);
      else if (error instanceof PortTaken) steps = stepsFrom(steps, 'allocate_port');
      else throw error;
    }
  }
}

/** Ends an operation: outcome, state and audit row in one transaction. */
async function end(
  { db, restarts, boot_timeout_s }: AttemptDeps,
  claim: Claim,
  evidence: StepContext['evidence'],
  error: OrchestratorError | null,
  duration_ms: number,
): Promise<EndedOperation> {
  const { kind, engine_id } = claim;
  const { success, failure, audit } = OPERATIONS[kind];
  // What the caller waited: also for an engine that was up already. One that only woke keeps what its boot took.
  const came_up = error === null && (evidence.url !== undefined || claim.warm);
  const boot_duration_ms = came_up ? duration_ms : undefined;
  return await db.tx(async (sql) => {
    let retained_until: Date | null = null;
    const ended = await endOperation(sql, claim, { evidence, error });
    if (ended === null) throw new LeaseLost();
    const stands = leftStanding(kind, ended);
    let halted: Halted = null;
    let { followed_by } = ended;
    if (error !== null && claim.image !== null && !stands) {
      const upgrade = { ...claim, image: claim.image };
      const failed = await failUpgrade(sql, upgrade, ended, error.message, boot_timeout_s);
      ({ halted, followed_by } = failed);
    } else if (error !== null) {
      if (failure !== undefined) {
        const status = evidence.gone ? 'failed' : stands ? 'running' : failure;
        const failure_reason = status === 'failed' ? error.message : null;
        await updateEngine(sql, engine_id, { status, failure_reason });
      }
      if (stands) await leavePlace(sql, engine_id);
      if (kind === 'provision' && evidence.port !== undefined) {
        halted = await haltForNewEngine(sql, engine_id, error.message);
      }
    } else if (success === null) {
      await deleteEngine(sql, engine_id);
    } else if (success === 'running') {
      await updateEngine(sql, engine_id, {
        status: success,
        // One that was only let go on keeps its address.
        ...(evidence.url !== undefined && { url: evidence.url, host_url: evidence.host_url ?? null }),
        ...(came_up && { boot_duration_ms }),
        failure_reason: null,
        ...(claim.image !== null && { engine_version: claim.image }),
      });
      if (kind === 'upgrade') await keepSnapshot(sql, engine_id, SNAPSHOT_KEPT_S);
      await noteUp(sql, engine_id);
    } else if (success === 'destroyed') {
      retained_until = await layToRest(sql, engine_id, claim.retain_s ?? 0);
      await releasePort(sql, engine_id);
    } else if (success === 'sleeping') {
      await noteAsleep(sql, engine_id);
    } else if (success !== undefined) {
      await updateEngine(sql, engine_id, { status: success, failure_reason: null });
    }
    // A rotation that was left unclear is known by now, or, if it was this one that failed, soon.
    const { key_hash } = evidence;
    const swapped = error === null && key_hash !== undefined && (await swapKey(sql, engine_id, key_hash));
    if (kind === 'rotate-key' && error !== null) await probeSoon(sql, engine_id);
    // Awake again, whichever way: the look that was planned for a sleeper may be an hour away.
    if ((error === null ? success : stands ? 'running' : failure) === 'running') {
      await lookAgain(sql, engine_id, 0);
    }
    await appendAudit(sql, {
      timestamp: claim.created_at,
      product_id: claim.product_id,
      user_id: claim.user_id,
      engine_id,
      action: error === null ? audit.success : audit.failure,
      actor: claim.actor,
      metadata: {
        operation_id: claim.id,
        outcome: ended.outcome,
        warm: claim.warm || undefined,
        epoch: claim.epoch,
        boot_duration_ms,
        retained_until: retained_until?.toISOString(),
        image: claim.image ?? undefined,
        purged: kind === 'purge' || undefined,
        old_key_valid_until: evidence.old_key_valid_until,
        error: error === null ? undefined : { code: error.code, message: error.message },
      },
      duration_ms,
    });
    if (swapped && boots(kind)) {
      await appendAudit(sql, {
        product_id: claim.product_id,
        user_id: claim.user_id,
        engine_id,
        action: 'rotate_key',
        actor: 'system',
        metadata: { operation_id: claim.id, found_by: kind, epoch: claim.epoch },
      });
    }
    // A boot that failed is tried again after a while, also the first one (O9); what has a successor leaves it that.
    const turned_ill = evidence.gone === true;
    const bootFailed = boots(kind) && !stands && followed_by === null;
    if (error !== null && (bootFailed || turned_ill)) {
      const engine = await lockEngine(sql, engine_id);
      if (engine !== null) await planRestart(sql, engine, { reason: error.message, turned_ill }, restarts);
    }
    await auditHalt(sql, halted);
    return { ...ended, followed_by };
  });
}

export const isNotReady = (error: unknown) =>
  error instanceof OrchestratorError && error.code === 'NOT_READY';
