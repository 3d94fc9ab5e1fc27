import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Answered, HitlRequest } from '../brain/hitl.ts';
import type { TurnRow } from '../brain/turns.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { EngineError } from '../errors.ts';
import type { Herald } from '../herald/contract.ts';
import { errorFields, type Log } from '../observe/log.ts';
import { answersTo, type Permissions } from '../permissions/permissions.ts';
import { createSlots, type ToolRunner } from '../tools/runner.ts';
import type { IngestedDocument, TextBlock } from '../types.ts';
import type { CacheMonitor } from './cache_monitor.ts';
import type { Contexts } from './context.ts';
import { type Deadline, startDeadline } from './deadline.ts';
import { turnFailure } from './failure.ts';
import { type Guards, timedOut } from './guards.ts';
import type { Hooks } from './hooks.ts';
import { runTurn } from './loop.ts';
import type { BlockCounter } from './model_call.ts';
import { isNote } from './note.ts';
import { openTurn, type RecordParts, resolveRequest, type TurnRecord, turnRecord } from './record.ts';
import { prepareToResume } from './recover.ts';
import type { ExecuteRequest, TakenRequest } from './request.ts';
import { type Rewind, rewindOf } from './rewind.ts';
import { NO_SCHEMA_NOTE, schemaNote } from './structured_output.ts';

/**
 * Who may run: one turn per task at a time (E7), any number of tasks beside each other. A turn belongs to
 * nobody: it is started here and runs to its end, whoever is or is not listening. One that waits for a person
 * runs no code at all; the answer, or the next start of the Engine, has it go on. Source: engine-runtime,
 * "Components".
 */
export type Coordinator = {
  /**
   * Starts a turn; it is in the brain, with its first event, when this returns. A turn that goes on after a
   * kill is found by an equal request instead (E5).
   * @throws EngineError `NOT_READY` while draining, `NOT_FOUND` for an unknown agent, `TASK_BUSY`, `HITL_REQUIRED`;
   *   what `rewindOf` throws.
   */
  start(request: TakenRequest, idempotency_key: string | undefined): TurnSpan;
  /** The turn of a task that has not ended, running or waiting. */
  inFlight(task_id: string): TurnSpan | undefined;
  /**
   * The turn, running or ended not long ago, that was started with this key (E5).
   * @throws EngineError `INVALID_REQUEST` when it was asked something else.
   */
  withKey(request: TakenRequest, idempotency_key: string): TurnSpan | undefined;
  /**
   * Gives a waiting turn what the person said; it goes on at once. `documents`: came with it, to be kept beside it.
   * @returns the id of the request that was answered.
   * @throws EngineError `NOT_FOUND` when nothing waits, or something else; `INVALID_REQUEST` for an answer it cannot take.
   */
  respond(
    task_id: string,
    request_id: string | undefined,
    answered: Answered,
    documents: IngestedDocument[],
  ): string;
  /** What waits for a person, oldest first. */
  waiting(): HitlRequest[];
  /**
   * Ends the turn of a task with `TURN_CANCELLED`. @returns its id.
   * @throws EngineError `NOT_FOUND` when there is none.
   */
  cancel(task_id: string): string;
  /** Turns that run now; those that wait for a person are not counted. */
  count(): number;
  /** When a turn last started or ended, Unix milliseconds. */
  lastTurnAt(): number;
  draining(): boolean;
  /** No new turns; those in flight get `grace_ms`, the rest goes on at the next start. Resolves when none runs. */
  drain(grace_ms: number): Promise<void>;
};

/** Where a turn's events lie in the log. `last_event_id` is null until it ends; readers look again. */
export type TurnSpan = {
  readonly task_id: string;
  readonly turn_id: string;
  readonly first_event_id: number;
  readonly last_event_id: number | null;
};

type Slot = {
  task_id: string;
  turn_id: string;
  agent: string;
  /** What was asked, as stored. */
  request: string;
  /** It was cut, and goes on in this process. */
  resumed: boolean;
  first_event_id: number;
  last_event_id: number | null;
  /** Undefined while it waits for a person. */
  run: { abort: AbortController; done: Promise<void> } | undefined;
  /** What has to be put right before it goes on, where it was cut. */
  cut: TurnRow | undefined;
  /** Block numbers go on over waiting and restarts. */
  blocks: BlockCounter;
  /** Told of every answer. */
  listeners: Set<() => void>;
};

/** Turns taken up again after a start run side by side, so many at once: a crash of a busy Engine is no storm. */
const PARALLEL_RESUMES = 4;

/**
 * A client that was cut by a kill may come back when its turn has gone on and ended already; within this time the
 * same request gets that answer and does not ask again, milliseconds (E5).
 */
const RESEND_MS = 60_000;

/** How often turns that nothing runs are looked at, milliseconds. */
const TEND_INTERVAL_MS = 10_000;

export type CoordinatorParts = RecordParts & {
  catalog: Catalog;
  herald: Herald;
  contexts: Contexts;
  guards: Guards;
  /** Absent: not watched. */
  cache_monitor?: CacheMonitor | undefined;
  tools: ToolRunner;
  hooks: Hooks;
  /** What tools have left running for a turn ends with it. */
  endTurn: (turn_id: string) => void;
  permissions: Permissions;
  log: Log;
  limits: {
    default_agent: string;
    max_tokens: number;
    tool_concurrency: number;
    continue_cut_answers: boolean;
    turn_timeout_s: number;
    /** How long an ended turn can be found by its key, milliseconds: as long as its events can be replayed. */
    replay_ttl_ms: number;
  };
};

/** The turn is left as it is, for the next start; nothing of it is recorded. */
class Suspended extends Error {
  override name = 'Suspended';
}

/** Takes up the turns that were in flight when the last process ended. */
export function createCoordinator(parts: CoordinatorParts): Coordinator {
  const { brain, catalog, herald, limits, log, now, newId } = parts;
  const slots = new Map<string, Slot>();
  /** Turns that went on after a kill and have ended lately, by task. */
  const lately = new Map<string, { slot: Slot; ended_at: number }>();
  const inResumeSlot = createSlots(PARALLEL_RESUMES);
  let draining = false;
  let last_turn_at = now();

  const tending = setInterval(tend, TEND_INTERVAL_MS).unref();
  tend();

  function start(request: TakenRequest, idempotency_key: string | undefined): TurnSpan {
    const { task_id } = request;
    if (draining) throw new EngineError('NOT_READY', 'The Engine is shutting down.');
    const name = request.agent ?? limits.default_agent;
    if (!catalog.agents.has(name)) {
      throw new EngineError('NOT_FOUND', `There is no agent ${JSON.stringify(name)}.`);
    }
    const busy = slotOf(task_id);
    if (busy !== undefined) {
      if (busy.resumed && busy.request === identity(request)) return busy;
      throw busy.run === undefined
        ? new EngineError('HITL_REQUIRED', 'The task waits for a person. Answer with /hitl/respond first.')
        : new EngineError(
            'TASK_BUSY',
            'The task has a turn in flight. Wait for its end, or attach with Last-Event-ID.',
          );
    }

    // A task that was removed meanwhile has no answer to give again.
    const before = brain.conversations.exists(task_id) ? lately.get(task_id) : undefined;
    lately.delete(task_id);
    if (before?.slot.request === identity(request) && now() - before.ended_at < RESEND_MS) return before.slot;

    const rewind = rewindOf(brain, request);
    const turn_id = newId('turn');
    const opening = {
      task_id,
      turn_id,
      agent: name,
      message: request.message,
      media: request.media,
      note: noteOn(request, rewind),
      rewind,
      request: identity(request),
      metadata: JSON.stringify(request.metadata),
      idempotency_key,
    };
    const first_event_id = openTurn(parts, opening);
    const slot = newSlot({ ...opening, first_event_id }, undefined);
    run(slot);
    return slot;
  }

  function noteOn({ output_schema }: TakenRequest, rewind: Rewind | undefined): TextBlock | undefined {
    if (output_schema !== null) return schemaNote(output_schema);
    const again = rewind?.message_id ?? null;
    const had_schema =
      again !== null && brain.messages.content(again).some((block) => isNote(block, 'output_schema'));
    return had_schema ? NO_SCHEMA_NOTE : undefined;
  }

  function newSlot(
    turn: Pick<TurnRow, 'task_id' | 'turn_id' | 'agent' | 'request' | 'first_event_id'>,
    cut: TurnRow | undefined,
  ): Slot {
    const { task_id, turn_id, agent, request, first_event_id } = turn;
    const slot: Slot = {
      task_id,
      turn_id,
      agent,
      request,
      resumed: cut !== undefined,
      cut,
      first_event_id,
      last_event_id: null,
      run: undefined,
      blocks: { next: 0 },
      listeners: new Set(),
    };
    slots.set(task_id, slot);
    return slot;
  }

  /** The unfinished turn of a task; one whose process, or whose disk, failed it goes on. */
  function slotOf(task_id: string): Slot | undefined {
    const slot = slots.get(task_id);
    if (slot !== undefined || draining) return slot;
    const [left] = brain.turns.inFlight(task_id);
    return left === undefined ? undefined : revive(left);
  }

  /** Takes up a turn that was cut, or, where it waits for a person, only finds it a place. */
  function revive(turn: TurnRow): Slot {
    const { task_id, turn_id } = turn;
    const slot = newSlot(turn, turn);
    if (brain.hitl.waiting(task_id).length > 0) return slot;
    log.info('Taking up a turn that was cut off', { task_id, extra: { turn_id } });
    run(slot, inResumeSlot);
    return slot;
  }

  /** Has a turn run, from where it stands, until it ends, waits or is suspended. */
  function run(slot: Slot, inTurn = (work: () => Promise<void>) => work()): void {
    const abort = new AbortController();
    last_turn_at = now();
    slot.run = { abort, done: Promise.resolve() };
    slot.run.done = inTurn(() => runToItsEnd(slot, abort));
  }

  /** Runs a turn under its deadline, records how it failed if it did, and frees the slot whatever happened. */
  async function runToItsEnd(slot: Slot, abort: AbortController): Promise<void> {
    const { task_id, turn_id } = slot;
    const started = now();
    let deadline: Deadline | undefined;
    const record = turnRecord(parts, slot, () => deadline?.active_ms() ?? 0);
    log.info('Starting execution', { task_id, extra: { turn_id } });
    let outcome: string = 'completed';
    try {
      const { active_ms } = brain.turns.spent(turn_id);
      deadline = startDeadline(limits.turn_timeout_s, active_ms, () =>
        abort.abort(timedOut(limits.turn_timeout_s)),
      );
      // The stream is opened before the context is built: `thread_lifecycle` started goes out at once.
      await new Promise(setImmediate);
      abort.signal.throwIfAborted();
      if (slot.cut !== undefined) slot.blocks = prepareToResume(parts, slot.cut);
      slot.cut = undefined;
      outcome = await takeTurn(slot, record, abort);
    } catch (error) {
      outcome = endBroken(slot, record, abort.signal.aborted ? abort.signal.reason : error);
    } finally {
      deadline?.stop();
      // Whatever still runs for this turn has nobody to run for.
      abort.abort(new Suspended());
      slot.run = undefined;
      if (outcome !== 'waiting') leave(slot);
      if (slot.resumed && outcome !== 'waiting' && outcome !== 'suspended') {
        lately.set(task_id, { slot, ended_at: now() });
      }
      last_turn_at = now();
      log.info('Execution ended', { task_id, extra: { turn_id, outcome, duration_ms: now() - started } });
    }
    // Answered while the loop was on its way out.
    if (outcome === 'waiting' && !draining && brain.hitl.waiting(task_id).length === 0) run(slot);
  }

  function takeTurn(slot: Slot, record: TurnRecord, abort: AbortController) {
    const agent = catalog.agents.get(slot.agent);
    if (agent === undefined) {
      throw new EngineError('NOT_FOUND', `There is no agent ${JSON.stringify(slot.agent)} any more.`);
    }
    const asked: Pick<ExecuteRequest, 'super_thinking' | 'direct' | 'output_schema'> = JSON.parse(
      slot.request,
    );
    return runTurn(
      {
        brain,
        catalog,
        herald,
        contexts: parts.contexts,
        guards: parts.guards,
        cache_monitor: parts.cache_monitor,
        tools: parts.tools,
        hooks: parts.hooks,
        permissions: parts.permissions,
        record,
        task_id: slot.task_id,
        turn_id: slot.turn_id,
        blocks: slot.blocks,
        thinking: asked.super_thinking,
        direct: asked.direct,
        output_schema: asked.output_schema ?? undefined,
        limits,
        signal: abort.signal,
        end: (error) => abort.abort(error),
        log,
        answered: () => new Promise((resolve) => slot.listeners.add(resolve)),
        now,
      },
      agent,
    );
  }

  /** @returns how it ended, for the log. */
  function endBroken(slot: Slot, record: TurnRecord, error: unknown): string {
    if (error instanceof Suspended) return 'suspended';
    const failure = turnFailure(error, log, slot.task_id);
    try {
      record.fail(failure, failure.code === 'TURN_CANCELLED' ? [CANCELLED] : []);
    } catch (unwritable) {
      // The brain cannot be written, so nothing can be shown either: streams end cut. The next request on this
      // task, or the next start, has the turn go on.
      log.error('The end of a turn could not be recorded', {
        task_id: slot.task_id,
        extra: errorFields(unwritable),
      });
    }
    return failure.code;
  }

  /** Nothing more comes of this turn here; its readers look at what there is and end. */
  function leave(slot: Slot): void {
    parts.endTurn(slot.turn_id);
    slot.last_event_id = brain.events.lastId();
    if (slots.get(slot.task_id) === slot) slots.delete(slot.task_id);
    brain.events.wake(slot.task_id);
  }

  /** Ends a turn that waits, so that no code of its own runs. */
  function endWaiting(slot: Slot, error: EngineError): void {
    const { turn_id, task_id } = slot;
    turnRecord(parts, slot).fail(error, error.code === 'TURN_CANCELLED' ? [CANCELLED] : []);
    last_turn_at = now();
    leave(slot);
    log.info('Execution ended', { task_id, extra: { turn_id, outcome: error.code } });
  }

  /** Takes up what was cut, by a kill or by a disk that was full, and ends what waited too long. */
  function tend(): void {
    try {
      for (const turn of brain.turns.inFlight()) if (!slots.has(turn.task_id)) revive(turn);
      for (const [task_id, { ended_at }] of lately) {
        if (now() - ended_at >= RESEND_MS) lately.delete(task_id);
      }
      expire();
    } catch (error) {
      log.error('Turns could not be looked after', { extra: errorFields(error) });
    }
  }

  /** Ends the turns whose question nobody has answered in time. */
  function expire(): void {
    for (const request of brain.hitl.waiting()) {
      if (request.expires_at > now()) continue;
      const slot = slots.get(request.task_id);
      const error = new EngineError(
        'HITL_EXPIRED',
        'Nobody answered in time. What was done before stays in the task; send a new message.',
        { request_id: request.request_id },
      );
      if (slot?.run !== undefined) slot.run.abort.abort(error);
      else if (slot !== undefined) endWaiting(slot, error);
    }
  }

  return {
    start,
    inFlight: slotOf,
    withKey(request, idempotency_key) {
      const slot = slotOf(request.task_id);
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

    respond(task_id, request_id, answered, documents) {
      const [request] = brain.hitl.waiting(task_id);
      if (request === undefined || (request_id ?? request.request_id) !== request.request_id) {
        throw new EngineError('NOT_FOUND', 'Nothing waits for this answer; it may have been given already.');
      }
      const possible = answersTo(request.findings);
      if (request.kind === 'permission' && !possible.includes(answered.answer)) {
        const message = `must be one of ${possible.join(', ')}`;
        throw new EngineError('INVALID_REQUEST', `body.answer: ${message}`, {
          issues: [{ path: 'body.answer', message }],
        });
      }
      resolveRequest(parts, request, answered, documents);
      const slot = slots.get(task_id);
      if (slot !== undefined && slot.run === undefined && !draining) run(slot);
      for (const tell of slot?.listeners ?? []) tell();
      slot?.listeners.clear();
      return request.request_id;
    },

    waiting: () => brain.hitl.waiting(),

    cancel(task_id) {
      const slot = slotOf(task_id);
      if (slot === undefined) throw new EngineError('NOT_FOUND', 'The task has no turn in flight.');
      const error = new EngineError('TURN_CANCELLED', 'The turn was cancelled.');
      if (slot.run !== undefined) slot.run.abort.abort(error);
      else endWaiting(slot, error);
      return slot.turn_id;
    },

    count: () => [...slots.values()].filter((slot) => slot.run !== undefined).length,
    lastTurnAt: () => last_turn_at,
    draining: () => draining,

    async drain(grace_ms) {
      draining = true;
      clearInterval(tending);
      const running = () => [...slots.values()].flatMap((slot) => slot.run ?? []);
      const ended = () => Promise.all(running().map(({ done }) => done));
      const grace = new AbortController();
      await Promise.race([
        ended(),
        sleep(grace_ms, undefined, { signal: grace.signal }).catch(() => undefined),
      ]);
      grace.abort();
      for (const { abort } of running()) abort.abort(new Suspended());
      await ended();
      for (const slot of [...slots.values()]) leave(slot);
    },
  };
}

const CANCELLED = { type: 'task_lifecycle', phase: 'cancelled' } as const;

/** What makes two requests the same one, as text that can be compared and stored. */
function identity(request: TakenRequest): string {
  const { message, direct, super_thinking, agent, media } = request;
  const { output_schema, edit_message_id, retry_message_id } = request;
  // Stored with the turn, so of media only what tells them apart.
  const attached =
    media.blocks.length === 0
      ? undefined
      : createHash('sha256').update(JSON.stringify(media.blocks)).digest('hex');
  return JSON.stringify({
    message,
    direct,
    super_thinking,
    agent: agent ?? null,
    media: attached,
    // Left out where there is none, as in rows from before there were any.
    output_schema: output_schema ?? undefined,
    edit_message_id: edit_message_id ?? undefined,
    retry_message_id: retry_message_id ?? undefined,
  });
}
