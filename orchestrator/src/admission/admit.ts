/**
 * Admission: a product asks, for each request of a user, where the user's engine is.
 *
 * The answer depends on a state that others are changing at the same moment, so it is found in rounds: read
 * the engine and what is under way on it, decide by the table, act, and where acting meant waiting or losing
 * a race, look again. Every act either joins the one operation under way or begins it, so any number of
 * admits cause one (O7). Source: bap-engine §2.3, O6.
 */
import { appendAudit } from '../audit/append.ts';
import { OrchestratorError } from '../errors.ts';
import { OPERATIONS } from '../lifecycle/machine.ts';
import type { Lifecycle } from '../lifecycle/operations.ts';
import type { Tally } from '../observe/tally.ts';
import { type AdmitEngine, type AdmitLook, lookAgain } from '../registry/admit.ts';
import type { Db } from '../registry/db.ts';
import { type EngineAndOperation, engineOf } from '../registry/engines.ts';
import type { OnceRequest } from '../registry/idempotency.ts';
import type { OperationRow } from '../registry/operations.ts';
import type { ProductRow } from '../registry/products.ts';
import { imageForNew } from '../registry/rollouts.ts';
import type { Look } from './looks.ts';
import { checkAutoProvision, checkProduct, checkVersion, enforce } from './policy.ts';

/** Each round ends in an answer unless somebody else changed the engine in between; so often nobody does. */
const MAX_ROUNDS = 5;

export type AdmitFlags = { auto_provision: boolean; auto_wake: boolean };

export type DenyReason =
  | 'engine_not_found'
  | 'engine_sleeping'
  | 'engine_stopped'
  | 'engine_unhealthy'
  | 'engine_destroying';

/** `engine` is always `running`. */
export type Admission = { admitted: true; engine: AdmitEngine } | { admitted: false; reason: DenyReason };

export type AdmissionDeps = {
  db: Db;
  lifecycle: Lifecycle;
  look: Look;
  tally: Tally;
};

/**
 * Admits a user. `first` is what the registry said when it counted this admit (registry/admit.ts). Throws
 * `RATE_LIMITED`, `POLICY_DENIED`, `QUOTA_EXCEEDED`, or the error of the operation it began or joined.
 */
export async function admit(
  deps: AdmissionDeps,
  first: AdmitLook,
  user_id: string,
  flags: AdmitFlags,
): Promise<Admission> {
  const { product, wait_s } = first;
  if (wait_s > 0) {
    deps.tally.admit(product.slug, 'limited');
    throw new OrchestratorError('RATE_LIMITED', `Rate limit exceeded. Retry in ${wait_s} seconds.`, {
      retry_after_s: wait_s,
    });
  }
  try {
    enforce(checkProduct(product.policy));
    const admission = await admitInRounds(deps, first, user_id, flags);
    if (!admission.admitted) await auditDenial(deps.db, product, user_id, admission.reason);
    deps.tally.admit(product.slug, admission.admitted ? 'granted' : 'denied');
    return admission;
  } catch (error) {
    const denied =
      error instanceof OrchestratorError && ['POLICY_DENIED', 'QUOTA_EXCEEDED'].includes(error.code);
    deps.tally.admit(product.slug, denied ? 'denied' : 'failed');
    if (denied) await auditDenial(deps.db, product, user_id, error.code);
    throw error;
  }
}

/**
 * Begins a provision within the product's policy. `named`: the version the caller wants, which pins it; else it is that
 * of the current roll-out, which may bring it to others.
 */
export async function provision(
  deps: AdmissionDeps,
  product: ProductRow,
  user_id: string,
  named: string | undefined,
  once: OnceRequest | null = null,
): Promise<OperationRow> {
  const engine_version = named ?? (await imageForNew(deps.db));
  enforce(checkProduct(product.policy), checkVersion(product.policy, engine_version));
  const version = { engine_version, version_pinned: named !== undefined };
  return await deps.lifecycle.provision(product, user_id, version, once);
}

type Verdict =
  | { do: 'admit'; engine: AdmitEngine }
  | { do: 'deny'; reason: DenyReason }
  | { do: 'join'; operation_id: string }
  /** It is falling asleep; how that ends is not this caller's business, only that it has. */
  | { do: 'let_fall_asleep'; operation_id: string }
  | { do: 'provision' }
  | { do: 'change'; kind: 'wake' | 'restart'; engine_id: string };

/** The table of bap-engine §2.3, with O6. */
export function judge(found: EngineAndOperation<AdmitEngine> | null, flags: AdmitFlags): Verdict {
  if (found === null) {
    return flags.auto_provision ? { do: 'provision' } : { do: 'deny', reason: 'engine_not_found' };
  }
  const { engine, operation } = found;
  const success = operation === null ? undefined : OPERATIONS[operation.kind].success;
  // One that changes no state stands in nobody's way.
  if (operation !== null && success !== undefined) {
    switch (success) {
      case 'running':
        return { do: 'join', operation_id: operation.id };
      case 'sleeping':
        return { do: 'let_fall_asleep', operation_id: operation.id };
      case 'destroyed':
      case null:
        return { do: 'deny', reason: 'engine_destroying' };
      default:
        return { do: 'deny', reason: 'engine_stopped' };
    }
  }
  switch (engine.status) {
    case 'running':
      return { do: 'admit', engine };
    case 'sleeping':
      return flags.auto_wake
        ? { do: 'change', kind: 'wake', engine_id: engine.id }
        : { do: 'deny', reason: 'engine_sleeping' };
    case 'stopped':
      return { do: 'deny', reason: 'engine_stopped' };
    case 'failed':
      return flags.auto_wake && engine.restart_at !== null
        ? { do: 'change', kind: 'restart', engine_id: engine.id }
        : { do: 'deny', reason: 'engine_unhealthy' };
    // These two are only there with their operation.
    case 'provisioning':
      return { do: 'deny', reason: 'engine_unhealthy' };
    case 'destroying':
      return { do: 'deny', reason: 'engine_destroying' };
  }
}

async function admitInRounds(
  deps: AdmissionDeps,
  first: AdmitLook,
  user_id: string,
  flags: AdmitFlags,
): Promise<Admission> {
  const { db, lifecycle } = deps;
  const { product } = first;
  for (let round = 1; round <= MAX_ROUNDS; round += 1) {
    const found = round === 1 ? first.found : await lookAgain(db, product.id, user_id);
    const verdict = judge(found, flags);
    try {
      switch (verdict.do) {
        case 'admit':
          // Not noted: it began to fall asleep, or went another way, in this very moment.
          if (found?.noted && (await lifecycle.isThere(verdict.engine))) {
            return { admitted: true, engine: verdict.engine };
          }
          break;
        case 'deny':
          return { admitted: false, reason: verdict.reason };
        case 'join':
          await lifecycle.outcome(verdict.operation_id);
          break;
        case 'let_fall_asleep':
          await lifecycle.outcome(verdict.operation_id).catch(unlessNotReady);
          break;
        case 'change': {
          const operation = await lifecycle.change(verdict.kind, verdict.engine_id, product.slug);
          await lifecycle.outcome(operation.id);
          break;
        }
        case 'provision': {
          enforce(checkAutoProvision(product.policy));
          const operation = await provision(deps, product, user_id, undefined);
          await lifecycle.outcome(operation.id);
          break;
        }
      }
    } catch (error) {
      if (!lostRace(error)) throw error;
    }
  }
  throw new OrchestratorError('OPERATION_IN_PROGRESS', 'The engine is being changed over and over.');
}

/** Somebody else was faster; what they did is to be looked at. */
function lostRace(error: unknown): boolean {
  return (
    error instanceof OrchestratorError &&
    ['ENGINE_ALREADY_EXISTS', 'ENGINE_NOT_FOUND', 'ENGINE_NOT_RUNNING', 'OPERATION_IN_PROGRESS'].includes(
      error.code,
    )
  );
}

/** A sleep that failed has left the engine awake, or failed: the next round sees which. */
function unlessNotReady(error: unknown): void {
  if (error instanceof OrchestratorError && error.code !== 'NOT_READY') return;
  throw error;
}

/**
 * Every denial leaves a row, except by the rate limit: a client in a loop would turn each refused call into
 * a write that waits for the disk.
 */
async function auditDenial(db: Db, product: ProductRow, user_id: string, reason: string): Promise<void> {
  const found = await engineOf(db, product.id, user_id);
  await appendAudit(db, {
    product_id: product.id,
    user_id,
    engine_id: found?.engine.id ?? null,
    action: 'admit_denied',
    actor: product.slug,
    metadata: { reason },
  });
}
