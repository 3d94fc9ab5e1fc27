/**
 * The state machine, as one table: states, the operations that move an engine between them, who may cause
 * each, how long it may take and where it ends. The code that runs operations and the documentation read
 * this; a test walks it.
 *
 * The rule that keeps engines from getting stuck: a transitional state is entered only together with an
 * operation row, and every operation has a deadline, a state for success and one for failure, and from that
 * one an ordinary call leads on. While an operation is under way the row keeps the state it had (a `stopped`
 * engine is `stopped` until it runs), except where the specification names a state for it.
 * Source: bap-engine §5, O6, O10.
 */
import type { AuditAction } from '../audit/append.ts';
import type { ErrorCode } from '../errors.ts';
import type { EngineStatus, SleepDepth } from '../registry/engines.ts';
import type { OperationKind } from '../registry/operations.ts';

/** `transitional`: only there while an operation is under way. */
export const STATES: Record<EngineStatus, { transitional: boolean; meaning: string }> = {
  provisioning: { transitional: true, meaning: 'Boot in progress, for the first time or after a restore.' },
  running: { transitional: false, meaning: 'Healthy and serving.' },
  sleeping: { transitional: false, meaning: 'Idle, as deep as `sleep_depth` says; woken by admit or start.' },
  stopped: { transitional: false, meaning: 'Stopped by a person; only a person starts it.' },
  failed: {
    transitional: false,
    meaning: 'Provision, start, restart or upgrade failed, or the process is gone.',
  },
  destroying: { transitional: true, meaning: 'Being removed, with its brain, or ended for a tombstone.' },
  destroyed: {
    transitional: false,
    meaning: 'A tombstone: no engine to anybody, its brain kept until it is restored or its time is over.',
  },
};

/** What an operation does, in order. Each step can be done twice: a retry finds what an earlier try made. */
export type Step =
  /** Claim a port, where the backend publishes one. */
  | 'allocate_port'
  /** Bring up the process or container of this epoch. */
  | 'create'
  /** Wait until the Engine says that it is ready. */
  | 'await_health'
  /** End the process; the brain stays. */
  | 'stop'
  /** Keep a copy of the data of the engine, which is down. */
  | 'snapshot'
  /** Make the data what that copy holds, where a newer image has had it. */
  | 'revert'
  /** Let the process go on, frozen or not, as the process of this epoch. */
  | 'thaw'
  /** Ask the Engine whether anything goes on, and the registry whether an admit came. */
  | 'confirm_idle'
  /** Let the process stand still, in memory. */
  | 'freeze'
  /** Tell the running Engine the hash of its next key, until it is known to have it. */
  | 'rotate_key'
  /** End the process and remove all it kept. */
  | 'remove';

/** An operation on an engine that has its place in the quota, or needs none. */
export type Change = Exclude<OperationKind, 'provision' | 'restore'>;

/** Who starts an operation. */
export type Cause =
  | 'product'
  | 'admit'
  | 'reconcile'
  | 'idle'
  | 'retention'
  | 'warm_pool'
  | 'rollout'
  | 'failed_upgrade';

/** Longest stop: the grace of SIGTERM (30 s, bap-engine §5.4) and the time a killed process takes to go. */
const STOP_DEADLINE_S = 45;
/** Longest removal: a stop, and deleting the folder. */
const REMOVE_DEADLINE_S = 90;
/** Longest copy of an engine's data: some gigabytes of brain and workspace on a slow disk. */
export const COPY_DEADLINE_S = 180;
/** An Engine that has not written down a hash by then stands still; its caller is better off knowing. */
const ROTATE_DEADLINE_S = 30;

export type Steps = readonly [Step, ...Step[]];

const BOOT = ['allocate_port', 'create', 'await_health'] as const;
/**
 * Where the data has been a newer image's: whatever boots the engine brings it back first, and whoever takes that up
 * begins with it again for as long as it is due.
 */
export const REVERT_AND_BOOT: Steps = ['stop', 'revert', ...BOOT];

/** For a process that is there already; where it turns out to be gone, a boot follows. */
const GO_ON = ['thaw', 'await_health'] as const;

/** What each depth of sleep means, the way down to it and the way up (O5). A way up that finds nothing boots. */
export const DEPTHS: Record<SleepDepth, { meaning: string; down: Steps; up: Steps }> = {
  label: {
    meaning: 'In name only: the process runs and answers.',
    down: ['thaw', 'confirm_idle'],
    up: GO_ON,
  },
  doze: {
    meaning: 'Frozen in memory: no CPU, no answers, awake in milliseconds.',
    down: ['thaw', 'confirm_idle', 'freeze'],
    up: GO_ON,
  },
  hibernate: {
    meaning: 'Stopped, memory freed, brain and port kept; waking is a boot.',
    down: ['thaw', 'confirm_idle', 'stop'],
    up: BOOT,
  },
};

type Operation = {
  /** States it may begin in; null: there is no engine yet. */
  from: readonly (EngineStatus | null)[];
  /** State while it is under way; absent: the state stays. */
  during?: EngineStatus;
  /** State after success; null: the row is gone; absent: the state stays. */
  success?: EngineStatus | null;
  /** State after failure; absent: the state stays. */
  failure?: EngineStatus;
  /** The same for all, or by the depth of sleep that it leads to or out of. */
  steps: Steps | 'down' | 'up';
  /** Instead, for an engine from the warm pool, which is up already (O26). */
  warm_steps?: Steps;
  /** Seconds from its beginning to its end, or the boot deadline of the configuration. */
  deadline: number | 'ORCH_BOOT_TIMEOUT_S';
  /** Seconds on top of a boot. */
  besides_s?: number;
  /** What its failure begins, in the same transaction. */
  followed_by?: 'rollback';
  causes: readonly Cause[];
  /** Answer to a caller who wants it in another state. */
  refusal: ErrorCode;
  audit: { begin?: AuditAction; success: AuditAction; failure: AuditAction };
};

const boot = { success: 'running', failure: 'failed', steps: BOOT, deadline: 'ORCH_BOOT_TIMEOUT_S' } as const;
const rise = { ...boot, steps: 'up' } as const;

export const OPERATIONS: Record<OperationKind, Operation> = {
  provision: {
    ...boot,
    from: [null],
    during: 'provisioning',
    warm_steps: GO_ON,
    causes: ['product', 'admit', 'warm_pool'],
    refusal: 'ENGINE_ALREADY_EXISTS',
    audit: { success: 'provision', failure: 'provision' },
  },
  start: {
    ...rise,
    from: ['stopped', 'sleeping', 'failed'],
    causes: ['product'],
    refusal: 'ENGINE_ALREADY_RUNNING',
    audit: { success: 'start', failure: 'start' },
  },
  // Also from one depth to the next.
  sleep: {
    from: ['running', 'sleeping'],
    success: 'sleeping',
    // Where the process is there; without it the engine has failed.
    failure: 'running',
    steps: 'down',
    deadline: STOP_DEADLINE_S,
    causes: ['idle', 'product'],
    refusal: 'ENGINE_NOT_RUNNING',
    audit: { success: 'sleep', failure: 'sleep' },
  },
  wake: {
    ...rise,
    from: ['sleeping'],
    causes: ['admit', 'product'],
    refusal: 'ENGINE_NOT_RUNNING',
    audit: { success: 'wake', failure: 'wake' },
  },
  restart: {
    ...boot,
    from: ['failed'],
    causes: ['admit', 'reconcile'],
    refusal: 'OPERATION_IN_PROGRESS',
    audit: {
      begin: 'auto_restart_start',
      success: 'auto_restart_success',
      failure: 'auto_restart_failed',
    },
  },
  stop: {
    from: ['running', 'sleeping', 'failed'],
    success: 'stopped',
    steps: ['stop'],
    deadline: STOP_DEADLINE_S,
    causes: ['product'],
    refusal: 'ENGINE_NOT_RUNNING',
    audit: { success: 'stop', failure: 'stop' },
  },
  destroy: {
    from: ['provisioning', 'running', 'sleeping', 'stopped', 'failed', 'destroying'],
    during: 'destroying',
    success: null,
    failure: 'failed',
    steps: ['remove'],
    deadline: REMOVE_DEADLINE_S,
    causes: ['product', 'warm_pool'],
    refusal: 'OPERATION_IN_PROGRESS',
    audit: { success: 'destroy', failure: 'destroy' },
  },
  // A destroy that leaves a tombstone (O30). Whoever wants the one is not content with the other.
  retire: {
    from: ['provisioning', 'running', 'sleeping', 'stopped', 'failed', 'destroying'],
    during: 'destroying',
    success: 'destroyed',
    failure: 'failed',
    steps: ['stop'],
    deadline: STOP_DEADLINE_S,
    causes: ['product'],
    refusal: 'OPERATION_IN_PROGRESS',
    audit: { success: 'destroy', failure: 'destroy' },
  },
  restore: {
    ...boot,
    from: ['destroyed'],
    during: 'provisioning',
    causes: ['product'],
    refusal: 'ENGINE_ALREADY_EXISTS',
    audit: { success: 'restore', failure: 'restore' },
  },
  // The rest of a destroy, when the time of its tombstone is over or a person ends it.
  purge: {
    from: ['destroyed'],
    during: 'destroying',
    success: null,
    failure: 'destroyed',
    steps: ['remove'],
    deadline: REMOVE_DEADLINE_S,
    causes: ['retention', 'product'],
    refusal: 'ENGINE_NOT_FOUND',
    audit: { success: 'destroy', failure: 'destroy' },
  },
  // The engine serves all the while; an admit does not wait for it.
  'rotate-key': {
    from: ['running'],
    // Where the process is there; without it the engine has failed.
    failure: 'running',
    steps: ['rotate_key'],
    deadline: ROTATE_DEADLINE_S,
    causes: ['product'],
    refusal: 'ENGINE_NOT_RUNNING',
    audit: { success: 'rotate_key', failure: 'rotate_key' },
  },
  // To another image (lifecycle/rollouts.ts). An engine that is at work runs on, and has not failed.
  upgrade: {
    ...boot,
    from: ['running', 'sleeping', 'stopped'],
    steps: ['thaw', 'confirm_idle', 'stop', 'snapshot', ...BOOT],
    besides_s: STOP_DEADLINE_S + COPY_DEADLINE_S,
    followed_by: 'rollback',
    causes: ['rollout', 'admit', 'product'],
    refusal: 'OPERATION_IN_PROGRESS',
    audit: { success: 'upgrade', failure: 'upgrade' },
  },
  // To the image and the data it had.
  rollback: {
    ...boot,
    from: ['failed'],
    steps: REVERT_AND_BOOT,
    besides_s: STOP_DEADLINE_S + COPY_DEADLINE_S,
    causes: ['failed_upgrade'],
    refusal: 'OPERATION_IN_PROGRESS',
    audit: { success: 'upgrade_rolled_back', failure: 'upgrade_rolled_back' },
  },
};

/** Seconds that an operation has. `revert_due`: before it boots the engine it has to bring its data back. */
export function deadlineOf(kind: OperationKind, boot_timeout_s: number, revert_due = false): number {
  const { deadline, besides_s = 0 } = OPERATIONS[kind];
  if (deadline !== 'ORCH_BOOT_TIMEOUT_S') return deadline;
  return boot_timeout_s + (revert_due ? Math.max(besides_s, STOP_DEADLINE_S + COPY_DEADLINE_S) : besides_s);
}

/** Operations on a tombstone; to all others it is no engine. */
export const actsOnTombstones = (kind: OperationKind) => OPERATIONS[kind].from.includes('destroyed');

/** Operations that bring an engine up. */
export const boots = (kind: OperationKind) => OPERATIONS[kind].success === 'running';

/**
 * Operations whose every take-up is a new epoch (O22): those that bring an engine up, and sleep. A late act of
 * an earlier take-up is outdated then: it can neither start a second process nor freeze one that is at work.
 */
export const takesEpoch = (kind: OperationKind) => boots(kind) || kind === 'sleep';

/**
 * What an operation does. `depth`: how deep the engine sleeps or is to sleep; null when it is down. `warm`: it
 * is up, and a provision took it from the pool.
 */
export function stepsOf(kind: OperationKind, depth: SleepDepth | null, warm = false): Steps {
  const { steps, warm_steps } = OPERATIONS[kind];
  if (warm && warm_steps !== undefined) return warm_steps;
  return typeof steps === 'string' ? DEPTHS[depth ?? 'hibernate'][steps] : steps;
}

/**
 * Steps that end what came before: an operation that has begun one is never walked from further up again. What was
 * told to end is not asked anything any more; and once the next image may have had the brain, a copy of that brain
 * must not take the place of the one from before.
 */
const ANCHORS: readonly string[] = ['stop', 'allocate_port'] satisfies Step[];

/** What is left to do of `steps` when `noted` was begun last. */
export function stepsFrom(steps: Steps, noted: string): Steps {
  const at = (steps as readonly string[]).indexOf(noted);
  const anchor = steps.findLastIndex((step, index) => index <= at && ANCHORS.includes(step));
  const [first, ...rest] = steps.slice(Math.max(0, anchor));
  return first === undefined ? steps : [first, ...rest];
}

/** Whether an operation that has begun `noted` has come as far as `step`. */
export const hasComeTo = (kind: OperationKind, step: Step, noted: string): boolean => {
  const steps: readonly string[] = stepsOf(kind, null);
  return steps.indexOf(noted) >= steps.indexOf(step);
};

/** From lightest to deepest. */
const BY_DEPTH: (SleepDepth | null)[] = [null, 'label', 'doze', 'hibernate'];

/** Whether `to` is a deeper sleep than `from`; null is awake. */
export const isDeeper = (to: SleepDepth, from: SleepDepth | null) =>
  BY_DEPTH.indexOf(to) > BY_DEPTH.indexOf(from);

/**
 * What becomes of a wish for `kind` on an engine in `status`, with the operation that is under way on it:
 * begin it, join the one under way because it leads to the same end (O7), or refuse with a code.
 */
export function decide<T extends { kind: OperationKind }>(
  kind: Change,
  status: EngineStatus,
  underWay: T | null,
): { verdict: 'begin' } | { verdict: 'join'; operation: T } | { verdict: 'refuse'; code: ErrorCode } {
  const wanted = OPERATIONS[kind];
  if (underWay !== null) {
    const { success } = OPERATIONS[underWay.kind];
    const sameEnd = underWay.kind === kind || (success !== undefined && success === wanted.success);
    return sameEnd
      ? { verdict: 'join', operation: underWay }
      : { verdict: 'refuse', code: 'OPERATION_IN_PROGRESS' };
  }
  return wanted.from.includes(status) ? { verdict: 'begin' } : { verdict: 'refuse', code: wanted.refusal };
}
