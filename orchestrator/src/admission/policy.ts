import { OrchestratorError } from '../errors.ts';
import type { Policy } from '../registry/policy.ts';

/** What a policy says to one wish. Bap-engine §6. */
export type PolicyCheck = { allowed: boolean; reason: string | null };

const ALLOWED: PolicyCheck = { allowed: true, reason: null };

/** Whether the product may be served at all. */
export function checkProduct(policy: Policy): PolicyCheck {
  return policy.suspended ? { allowed: false, reason: 'The product is suspended.' } : ALLOWED;
}

/** Whether admit may provision. */
export function checkAutoProvision(policy: Policy): PolicyCheck {
  return policy.allow_auto_provision === false
    ? { allowed: false, reason: "The product's policy does not let admit provision." }
    : ALLOWED;
}

/** Whether engines of this version may be provisioned. The cap on their number is checked where one is added (O18). */
export function checkVersion(policy: Policy, engine_version: string): PolicyCheck {
  return policy.allowed_versions?.includes(engine_version) === false
    ? { allowed: false, reason: `The product's policy does not allow engine version "${engine_version}".` }
    : ALLOWED;
}

/** Throws `POLICY_DENIED` with the reason of the first check that does not allow. */
export function enforce(...checks: PolicyCheck[]): void {
  const denied = checks.find((check) => !check.allowed);
  if (denied !== undefined) throw new OrchestratorError('POLICY_DENIED', denied.reason ?? 'Not allowed.');
}

/** How long a tombstone is kept where the caller wants one and the policy names no time, seconds. */
const RETENTION_S = 7 * 24 * 60 * 60;

/** For how long a destroyed engine can be restored, seconds; null: not at all. The caller's word comes first. */
export function retention(policy: Policy, retain: boolean | undefined): number | null {
  const by_policy = policy.destroy_retention_s ?? 0;
  if (retain ?? by_policy > 0) return by_policy > 0 ? by_policy : RETENTION_S;
  return null;
}
