/** A roll-out for people: how it stands, and what comes next. */
import type { CanarySettings } from '../config.ts';
import { isProven, type Progress, placesLeft, type RolloutRow } from '../registry/rollouts.ts';

export const ROLLOUT_STATES = ['canary', 'rolling', 'done', 'halted', 'superseded'] as const;
export type RolloutState = (typeof ROLLOUT_STATES)[number];

/** `current`: the one begun last. */
export function stateOf(rollout: RolloutRow, current: RolloutRow, progress: Progress): RolloutState {
  if (rollout.halted_at !== null) return 'halted';
  if (rollout.image !== current.image) return 'superseded';
  if (progress.upgraded === progress.concerned) return 'done';
  return isProven(rollout) ? 'rolling' : 'canary';
}

/** What happens next, or what a person has to do for it. */
export function nextOf(
  rollout: RolloutRow,
  state: RolloutState,
  progress: Progress,
  { canary_percent, probation_s }: CanarySettings,
): string {
  const left = progress.concerned - progress.upgraded;
  switch (state) {
    case 'superseded':
      return 'Nothing: another image was begun after it.';
    case 'halted':
      return 'Nothing until `bap-engine upgrade --resume`, or until another image is begun.';
    case 'done':
      return 'Nothing: every engine that follows roll-outs has the image.';
    case 'canary':
      return rollout.percent === 0
        ? `\`bap-engine upgrade --percent ${canary_percent || 5}\` begins.`
        : `More than the canary share get it when one engine has been well on it for ${probation_s} s.`;
    case 'rolling': {
      if (placesLeft(rollout, progress, canary_percent) === 0 && progress.under_way === 0) {
        return `\`bap-engine upgrade --percent\` with more than ${rollout.percent}: the share is full, ${left} are left.`;
      }
      return rollout.eager
        ? `${left} are left: those that run when they are idle, the others at their next boot.`
        : `${left} are left: each at its next boot; \`bap-engine upgrade --percent ${rollout.percent}\` has those that run upgraded too.`;
    }
  }
}
