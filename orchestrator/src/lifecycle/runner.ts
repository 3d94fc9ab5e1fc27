/**
 * Whose work an operation is: this replica claims operations, keeps its leases while it works on them, and
 * lets callers wait for the end of any of them, whoever works on it (O23).
 *
 * An operation that this replica begins it claims at once. What nobody works on, because it waits for its
 * turn or because its owner is dead or frozen, every replica looks for once a second and claims a few at a
 * time. A lost lease stops the work here: another replica does it now.
 */
import { isErrorCode, OrchestratorError } from '../errors.ts';
import { type Loop, startLoop } from '../loops.ts';
import {
  type Claim,
  claimOperations,
  type OperationKind,
  type OperationRow,
  operationById,
  renewLeases,
} from '../registry/operations.ts';
import { type AttemptDeps, attempt, isNotReady, LeaseLost } from './attempt.ts';
import { OPERATIONS, takesEpoch } from './machine.ts';

/** How long a frozen replica keeps its work from the others, seconds; a dead one loses it at once. */
const LEASE_S = 5;
/** A lease is renewed when a third of it is over, so that one missed renewal loses nothing. */
const RENEW_MS = (LEASE_S * 1000) / 3;
/** How often each replica looks for operations that nobody works on, milliseconds. */
const CLAIM_MS = 1_000;
/** Part of these pauses by which they vary: replicas must not march in step. */
const JITTER = 0.2;
/**
 * How many of those it works on side by side: a start with many engines must not starve the requests. An
 * operation that this replica begins itself, or that a caller waits for, does not wait for its turn.
 */
const MAX_TAKEN_UP = 8;
/** What every claim but the first has left of the operation's time at least, seconds. */
const LAST_CHANCE_S = 15;
/** Pause before the database is asked again, milliseconds. */
const DATABASE_RETRY_MS = 500;
/** How often an operation that another replica works on is looked at, milliseconds. */
const JOIN_POLL_MS = 200;
/** How long past its deadline such an operation is waited for, milliseconds. */
const JOIN_GRACE_MS = 10_000;
/** How long `close` waits for steps that cannot be interrupted, milliseconds. */
const CLOSE_TIMEOUT_MS = 2_000;

const TAKES_EPOCH = (Object.keys(OPERATIONS) as OperationKind[]).filter(takesEpoch);

export type RunnerDeps = AttemptDeps & {
  /** This replica's id, see registry/replica.ts. */
  owner: number;
  /** See `LoopOptions`. */
  random: () => number;
};

export type Runner = {
  /** Claims an operation and works on it, now and in the background; asked twice it does it once. */
  take(id: string): void;
  /** Looks for operations that wait for their turn, soon instead of within a second. */
  kick(): void;
  /** Takes up what nobody works on, for the first time before it returns, and goes on doing so. */
  resume(): Promise<void>;
  /** Waits for the end of an operation, whoever works on it; throws its error when it failed. */
  outcome(id: string): Promise<OperationRow>;
  /** Lets go. What is unfinished stays so, for another replica or the next start; whoever waits gets `NOT_READY`. */
  close(): Promise<void>;
};

export function startRunner(deps: RunnerDeps): Runner {
  const { db, clock, log, owner } = deps;
  const closing = new AbortController();
  /** The leases this replica holds. */
  const held = new Map<string, { claim: Claim; lost: AbortController }>();
  /** Operations whose end is awaited here, one promise for any number of callers. */
  const followed = new Map<string, Promise<OperationRow>>();
  /** Those that the loop took up. */
  const takenUp = new Set<string>();
  let loops: Loop[] = [];

  async function claim(which: { limit: number; id?: string; known?: string[] }) {
    const claims = await claimOperations(db, {
      ...which,
      owner,
      lease_s: LEASE_S,
      last_chance_s: Math.min(LAST_CHANCE_S, deps.boot_timeout_s),
      takes_epoch: TAKES_EPOCH,
    });
    if (claims.length > 0) deps.failpoint('claim.committed');
    return claims;
  }

  function follow(id: string): Promise<OperationRow> {
    const current = followed.get(id);
    if (current !== undefined) return current;
    return keep(id, claimOrWatch(id));
  }

  function keep(id: string, end: Promise<OperationRow>): Promise<OperationRow> {
    const ended = end.finally(() => followed.delete(id));
    followed.set(id, ended);
    // Those who wait for it get the error too, but there may be none.
    ended.catch((error) => log.warn({ operation_id: id, err: error }, 'operation left unfinished'));
    return ended;
  }

  async function claimOrWatch(id: string): Promise<OperationRow> {
    return await whileAway(async () => {
      const [mine] = await claim({ id, limit: 1 });
      return await (mine === undefined ? watch(id) : work(mine));
    });
  }

  /** Works on what this replica has claimed, or, where it loses the lease, watches how another does. */
  async function work(mine: Claim): Promise<OperationRow> {
    const lost = new AbortController();
    const overdue_at = clock.now() + mine.remaining_ms;
    const signal = AbortSignal.any([closing.signal, lost.signal]);
    held.set(mine.id, { claim: mine, lost });
    if (mine.attempt > 1) {
      const { id, kind, step, attempt, epoch } = mine;
      log.info({ operation_id: id, kind, step, attempt, epoch }, 'operation taken up again');
    }
    try {
      const ended = await whileAway(() => attempt(deps, mine, overdue_at, signal));
      // Here and now, not when the loop comes by it: the engine is down. Where this breaks off, the loop takes it up.
      if (ended.followed_by !== null) void follow(ended.followed_by).catch(() => undefined);
      return ended;
    } catch (error) {
      if (!(error instanceof LeaseLost)) throw error;
      log.warn({ operation_id: mine.id, lease: mine.lease }, 'lease lost; another replica has the operation');
    } finally {
      held.delete(mine.id);
    }
    return await whileAway(() => watch(mine.id));
  }

  /** Does it again until the database is there, or this replica ends. */
  async function whileAway<T>(what: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await what();
      } catch (error) {
        if (closing.signal.aborted || !isNotReady(error)) throw error;
        await pause(DATABASE_RETRY_MS);
      }
    }
  }

  /** Looks at an operation that another replica works on until it has ended. */
  async function watch(id: string): Promise<OperationRow> {
    for (;;) {
      const operation = await operationById(db, id);
      if (operation === null) throw new TypeError(`operation ${id} does not exist`);
      if (operation.outcome !== null) return operation;
      if (clock.wall() > operation.deadline.getTime() + JOIN_GRACE_MS) {
        throw new OrchestratorError(
          'OPERATION_IN_PROGRESS',
          `The ${operation.kind} under way is past its deadline.`,
        );
      }
      await pause(JOIN_POLL_MS);
    }
  }

  /** A sleep that was cut short says so in its own words; what matters is why. */
  async function pause(ms: number): Promise<void> {
    await clock.sleep(ms, closing.signal).catch((error) => {
      throw closing.signal.aborted ? closing.signal.reason : error;
    });
  }

  async function takeUp(): Promise<void> {
    const limit = MAX_TAKEN_UP - takenUp.size;
    if (limit === 0) return;
    const known = [...held.keys(), ...followed.keys()];
    for (const mine of await claim({ limit, known })) {
      takenUp.add(mine.id);
      const ended = followed.has(mine.id) ? work(mine) : keep(mine.id, work(mine));
      const free = () => {
        takenUp.delete(mine.id);
        kick();
      };
      ended.then(free, free);
    }
  }

  async function renew(): Promise<void> {
    const asked = [...held.values()];
    if (asked.length === 0) return;
    const claims = asked.map((one) => one.claim);
    const still = new Set(await renewLeases(db, owner, claims, LEASE_S));
    for (const { claim, lost } of asked) if (!still.has(claim.id)) lost.abort(new LeaseLost());
  }

  const kick = () => {
    for (const loop of loops) loop.kick();
  };

  return {
    take: (id) => void follow(id).catch(() => undefined),
    kick,
    async resume() {
      await takeUp();
      const common = { jitter: JITTER, clock, log, random: deps.random, signal: closing.signal };
      loops = [
        startLoop({ ...common, name: 'claim operations', every_ms: CLAIM_MS, run: takeUp }),
        startLoop({ ...common, name: 'renew leases', every_ms: RENEW_MS, run: renew }),
      ];
    },
    async outcome(id) {
      let operation = await follow(id);
      // Where it has been made good, it is as if it had not failed.
      while (operation.followed_by !== null) operation = await follow(operation.followed_by);
      if (operation.outcome === 'succeeded') return operation;
      const code = operation.error_code ?? '';
      throw new OrchestratorError(
        isErrorCode(code) ? code : 'INTERNAL_ERROR',
        operation.error_message ?? 'The operation failed.',
      );
    },
    async close() {
      closing.abort(new OrchestratorError('NOT_READY', 'The orchestrator is stopping.'));
      const limit = new AbortController();
      const patience = clock.sleep(CLOSE_TIMEOUT_MS, limit.signal).catch(() => undefined);
      const all = [...followed.values(), ...loops.map((loop) => loop.ended)];
      await Promise.race([Promise.allSettled(all), patience]);
      limit.abort();
    },
  };
}
