import { OrchestratorError } from '../errors.ts';
import { OPERATIONS } from '../lifecycle/machine.ts';
import { engineOf } from '../registry/engines.ts';
import type { OnceRequest } from '../registry/idempotency.ts';
import type { OperationRow } from '../registry/operations.ts';
import type { ProductRow } from '../registry/products.ts';
import { tombstoneOf } from '../registry/tombstones.ts';
import type { AdmissionDeps } from './admit.ts';
import { checkProduct, checkVersion, enforce } from './policy.ts';

/**
 * Begins to bring back the engine of a user that was destroyed last, within the product's policy and quota as a
 * provision. Throws `POLICY_DENIED`, `QUOTA_EXCEEDED`, `ENGINE_ALREADY_EXISTS`, or `ENGINE_NOT_FOUND` when there is
 * nothing to bring back. Bap-engine §2.1, §5.2, O30.
 */
export async function restore(
  { db, lifecycle }: AdmissionDeps,
  product: ProductRow,
  user_id: string,
  once: OnceRequest | null,
): Promise<OperationRow> {
  enforce(checkProduct(product.policy));
  // In this order: what another restores in between is found as one or the other.
  const tombstone = await tombstoneOf(db, product.id, user_id);
  if ((await engineOf(db, product.id, user_id)) !== null) {
    throw new OrchestratorError(OPERATIONS.restore.refusal, 'The user has an engine.');
  }
  if (tombstone === null) {
    throw new OrchestratorError('ENGINE_NOT_FOUND', 'The user has no engine that can be restored.');
  }
  enforce(checkVersion(product.policy, tombstone.engine_version));
  return await lifecycle.restore(product, tombstone.id, once);
}
