import type { AuditAction } from './append.ts';

/** When each action is written, for the reference page; bap-engine §11. */
export const AUDIT_MEANINGS: Record<AuditAction, string> = {
  provision: 'An engine was created, by provision or by an admit that provisions; or that failed.',
  start: 'An engine was started by a call.',
  stop: 'An engine was stopped by a call.',
  sleep: 'An engine was put to sleep, by the idle detector or by a call.',
  wake: 'A sleeping engine was woken, by an admit or by a call.',
  destroy:
    'An engine was destroyed; with `retained_until` where it can be restored, with `purged` when a tombstone was removed.',
  restore: 'A destroyed engine was brought back.',
  health_check: 'A probe: every change of outcome, and one in 100.',
  health_failed: 'An engine was ill too often in a row, or found gone, and is `failed`.',
  auto_restart_start: 'A restart of a failed engine was begun.',
  auto_restart_success: 'It worked.',
  auto_restart_failed: 'It did not; the next one is planned.',
  auto_restart_gave_up: 'The attempts are used up; the engine stays `failed`.',
  policy_register: 'A product was registered, with its policy.',
  policy_update: "A product's policy was replaced.",
  admit_denied: 'An admit was denied, with the reason.',
  adopt: 'Something that ran already was taken over.',
  epoch_repaired:
    'After a restored backup `bap-engine repair-epochs` raised an epoch to what its engine had seen.',
  orphan_removed: 'Something that ran without a row in the registry was removed.',
  rotate_key: "An engine's key was replaced.",
  rotate_platform_key: "A product's platform key was replaced.",
  product_delete: 'A product was deleted.',
  upgrade:
    'An engine was brought to another image, by a wake, a start or `bap-engine upgrade`; or that failed.',
  upgrade_rolled_back:
    'After a failed upgrade an engine was brought back to the image and the data it had; or that failed.',
  rollout: 'The roll-out of an image was begun, its share was changed, or it was resumed.',
  rollout_halted: 'The roll-out of an image was halted: an engine did not get healthy on it, or turned ill.',
};
