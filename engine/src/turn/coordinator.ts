import { setTimeout as sleep } from 'node:timers/promises';
import type { Catalog } from '../catalog/catalog.ts';
import { EngineError } from '../errors.ts';
import type { Herald } from '../herald/contract.ts';
import { errorFields, type Log } from '../observe/log.ts';
import type { Dispatch } from '../tools/dispatch.ts';
import type { Contexts } from './context.ts';
import { startDeadline } from './deadline.ts';
import { turnFailure } from './failure.ts';
import { type Guards, timedOut } from './guards.ts';
import { runLoop } from './loop.ts';
import { openTurn, type RecordParts, turnRecord } from './record.ts';
import { endLeftTurns } from './recover.ts';
import type { ExecuteRequest } from './request.ts';

/**
 * Who may run: one turn per task at a time (E7), any number of tasks beside each other. A turn belongs to
 * nobody: it is started here and runs to its end, whoever is or is not listening. Source: engine-runtime,
 * "Components".
 */
export type Coordinator = {
  /**
   * Starts a turn; it is in the brain, with its first event, when this returns.
   * @throws EngineError `NOT_READY` while draining, `NOT_FOUND` for an unknown agent, `TASK_BUSY`.
   */
  start(request: ExecuteRequest, idempotency_key: string | undefined): TurnSpan;
  /** The turn in flight of a task. */
  inFlight(task_id: string): TurnSpan | undefined;
  /**
   * The turn, running or ended not long ago, that was started with this key (E5).
   * @throws EngineError `INVALID_REQUEST` when it was asked something else.
   */
  withKey(request: ExecuteRequest, idempotency_key: string): TurnSpan | undefined;
  count(): number;
  /** When a turn last started or ended, Unix milliseconds. */
  lastTurnAt(): number;
  draining(): boolean;
  /** No new turns; those in flight get `grace_ms`, then are aborted and recorded. Resolves when none is left. */
  drain(grace_ms: number): Promise<void>;
};

/** Where a turn's events lie in the log. `last_event_id` is null while it runs; readers look again. */
export type TurnSpan = {
  readonly task_id: string;
  readonly turn_id: string;
  readonly first_event_id: number;
  readonly last_event_id: number | null;
};

type Slot = {
  task_id: string;
  turn_id: string;
  first_event_id: number;
  last_event_id: number | null;
  abort: AbortController;
  /** How long the turn has run, milliseconds. */
  active_ms: () => number;
  done: Promise<void>;
};

export type CoordinatorParts = RecordParts & {
  catalog: Catalog;
  herald: Herald;
  contexts: Contexts;
  guards: Guards;
  dispatch: Dispatch;
  log: Log;
  limits: {
    default_agent: string;
    max_tokens: number;
    turn_timeout_s: number;
    /** How long an ended turn can be found by its key, milliseconds: as long as its events can be replayed. */
    replay_ttl_ms: number;
  };
};

export function createCoordinator(parts: CoordinatorParts): Coordinator {
  const { brain, catalog, herald, limits, log, now, newId } = parts;
  const slots = new Map<string, Slot>();
  let draining = false;
  let last_turn_at = now();

  function start(request: ExecuteRequest, idempotency_key: string | undefined): TurnSpan {
    const { task_id } = request;
    if (draining) throw new EngineError('NOT_READY', 'The Engine is shutting down.');
    const name = request.agent ?? limits.default_agent;
    const agent = catalog.agents.get(name);
    if (agent === undefined) throw new EngineError('NOT_FOUND', `There is no agent ${JSON.stringify(name)}.`);
    if (slots.has(task_id)) {
      throw new EngineError(
        'TASK_BUSY',
        'The task has a turn in flight. Wait for its end, or attach with Last-Event-ID.',
      );
    }

    endLeftTurns(parts, log, task_id);
    const turn_id = newId('turn');
    const first_event_id = openTurn(parts, {
      task_id,
      turn_id,
      agent: name,
      message: request.message,
      request: identity(request),
      metadata: JSON.stringify(request.metadata),
      idempotency_key,
    });
    const abort = new AbortController();
    const slot: Slot = {
      task_id,
      turn_id,
      first_event_id,
      last_event_id: null,
      abort,
      active_ms: () => 0,
      done: Promise.resolve(),
    };
    slots.set(task_id, slot);
    last_turn_at = now();

    const turn = async () => {
      const { contexts, guards, dispatch } = parts;
      const record = turnRecord(parts, slot, slot.active_ms);
      const thread = { task_id, turn_id, thread_id: '', agent, model: agent.model ?? herald.model };
      await runLoop(
        { herald, contexts, guards, dispatch, record },
        {
          thread,
          max_tokens: limits.max_tokens,
          thinking: request.super_thinking,
          signal: abort.signal,
        },
      );
    };
    slot.done = runToItsEnd(slot, turn);
    return slot;
  }

  /** Runs a turn under its deadline, records how it failed if it did, and frees the slot whatever happened. */
  async function runToItsEnd(slot: Slot, turn: () => Promise<void>): Promise<void> {
    const { task_id, turn_id } = slot;
    const started = now();
    const deadline = startDeadline(limits.turn_timeout_s, 0, () =>
      slot.abort.abort(timedOut(limits.turn_timeout_s)),
    );
    slot.active_ms = deadline.active_ms;
    log.info('Starting execution', { task_id, extra: { turn_id } });
    let outcome = 'completed';
    try {
      // The stream is opened before the context is built: `thread_lifecycle` started goes out at once.
      await new Promise(setImmediate);
      await turn();
    } catch (error) {
      const failure = turnFailure(slot.abort.signal.aborted ? slot.abort.signal.reason : error, log, task_id);
      outcome = failure.code;
      try {
        turnRecord(parts, slot).fail(failure);
      } catch (unwritable) {
        // The brain cannot be written, so nothing can be shown either: streams end cut. The next turn on this
        // task, or the next start, ends it in the brain.
        log.error('The end of a turn could not be recorded', { task_id, extra: errorFields(unwritable) });
      }
    } finally {
      deadline.stop();
      slot.last_event_id = brain.events.lastId();
      slots.delete(task_id);
      last_turn_at = now();
      brain.events.wake(task_id);
      log.info('Execution ended', { task_id, extra: { turn_id, outcome, duration_ms: now() - started } });
    }
  }

  return {
    start,
    inFlight: (task_id) => slots.get(task_id),
    withKey(request, idempotency_key) {
      const slot = slots.get(request.task_id);
      if (slot === undefined) endLeftTurns(parts, log, request.task_id);
      const turn = brain.turns.byIdempotencyKey(
        request.task_id,
        idempotency_key,
        now() - limits.replay_ttl_ms,
      );
      if (turn === undefined) return undefined;
      if (turn.request !== identity(request)) {
        throw new EngineError(
          'INVALID_REQUEST',
          'This Idempotency-Key was used for another request on this task.',
        );
      }
      return slot?.turn_id === turn.turn_id ? slot : turn;
    },
    count: () => slots.size,
    lastTurnAt: () => last_turn_at,
    draining: () => draining,

    async drain(grace_ms) {
      draining = true;
      const ended = () => Promise.all([...slots.values()].map((slot) => slot.done));
      const grace = new AbortController();
      await Promise.race([
        ended(),
        sleep(grace_ms, undefined, { signal: grace.signal }).catch(() => undefined),
      ]);
      grace.abort();
      for (const slot of slots.values()) {
        slot.abort.abort(
          new EngineError(
            'NOT_READY',
            'The Engine was shut down before the turn ended. Send the message again.',
          ),
        );
      }
      await ended();
    },
  };
}

/** What makes two requests the same one, as text that can be compared and stored. */
function identity(request: ExecuteRequest): string {
  const { message, direct, super_thinking, agent } = request;
  return JSON.stringify({ message, direct, super_thinking, agent: agent ?? null });
}
