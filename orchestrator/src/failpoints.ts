/**
 * Places where a test kills or freezes the orchestrator: before and after everything it does to the world
 * and to the registry. Between any two of them a power cut may come; what the next start makes of it is the
 * crash matrix (docs/reliability.md). Nothing but an argument of `startOrchestrator` turns one on.
 */
import type { Step } from './lifecycle/machine.ts';

/** The points beside those around each step, with what has just happened. */
export const FAILPOINTS = {
  'begin.before': 'nothing is committed',
  'begin.committed': 'the operation is committed, nobody has claimed it',
  'claim.committed': 'it is claimed, at a new epoch where it needs one',
  'create.fenced': 'the backend refuses older epochs from here on',
  'create.replaced': 'the process of the epoch before has ended',
  'create.made': 'there is a place for the process to run in, and nothing in it',
  'create.ready': 'all is looked at for the last time, the process is not started',
  'create.spawned': 'the process is there, its record is not',
  'stop.terminated': 'the process has ended, its record is there',
  'snapshot.copied': 'the copy is complete, and not yet the snapshot',
  'revert.copied': 'the copy of the snapshot is complete, the data is as it was',
  'revert.swapping': 'the data has been taken away, the copy is not yet in its place',
  'remove.marked': 'the engine is marked as destroyed, all else is there',
  'remove.stopped': 'the process is gone, its folder is there',
  'end.before': 'all steps are done, the outcome is not written',
  'end.committed': 'the outcome is committed, nobody has been answered',
} as const;

/** `{step}.before`: the step is noted; `{step}.after`: it is done. Hit by each take-up of the step. */
export type Failpoint = keyof typeof FAILPOINTS | `${Step}.before` | `${Step}.after`;

/** Called at each point. */
export type HitFailpoint = (point: Failpoint) => void;

export const noFailpoint: HitFailpoint = () => {};
