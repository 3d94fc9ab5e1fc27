import type { Brain } from '../brain/brain.ts';
import type { NewEvent } from '../brain/channel_state.ts';
import type { NewCompaction } from '../brain/compactions.ts';
import type { Answered, HitlRequest, NewHitlRequest } from '../brain/hitl.ts';
import type { StoredMessage } from '../brain/messages.ts';
import type { Observed } from '../brain/observability.ts';
import type { CallId, Outcome, ToolCallRow } from '../brain/tool_calls.ts';
import type { NoteChange } from '../brain/working_memory.ts';
import type { EngineError } from '../errors.ts';
import type { NewId } from '../ids.ts';
import { answersTo } from '../permissions/permissions.ts';
import { kindsIn, type Scrubber } from '../secrets/scrubber.ts';
import type {
  ContentBlock,
  IngestedDocument,
  StreamEvent,
  TakenMedia,
  TextBlock,
  ToolUseBlock,
} from '../types.ts';
import type { EventBody } from './events.ts';
import type { Spent } from './guards.ts';
import { owedResults, resultsMessage, toolCalls } from './history.ts';
import { createOutgoing } from './outgoing.ts';
import type { Rewind } from './rewind.ts';

/**
 * What a turn leaves behind: its events, its messages, its journal, its row. The loop says what happened; here
 * it is written, each step in one transaction, so that a kill at any instant leaves the history, the replay,
 * the ledger and the turn's state agreeing with each other: what comes next can be read off them. Source:
 * engine-runtime, "Durability and resume".
 */
export type TurnRecord = {
  /** A thread of this turn: `''` its own, else that of the sub-agent which `parent_tool_call_id` started. */
  thread(thread_id: string, parent_tool_call_id?: string): ThreadRecord;
  /** What the turn has spent until now, earlier runs of it included. */
  spent(): Spent;
  /** The turn goes on after a kill: blocks that were never finished are void, by `EventBody`s of each thread. */
  resume(events: NewEvent[], broken: number[]): void;
  /** The turn failed: `before`, `thread_lifecycle` errored, then `error` as the very last event (E9). */
  fail(error: EngineError, before?: EventBody[]): void;
};

export type ThreadRecord = {
  readonly thread_id: string;
  /** Shows an event, a few milliseconds later, together with its neighbours. */
  emit(event: EventBody): void;
  /** The event as `emit` would write it. */
  toEvent(event: EventBody): NewEvent;
  /** Before a model call: it is in the journal when this returns. @returns its id there. */
  beginCall(position: number): number;
  /** A model call is over without an answer; `events` say what of it is void. */
  breakCall(call: number, events: EventBody[]): void;
  /**
   * A model call has given an answer: it joins the history, its tool calls the ledger, its usage is shown. One
   * without tool calls ends the thread, and, in the turn's own, the turn, unless it has yet to be looked at (`ends`
   * false); then `end` does that.
   */
  answer(call: number, answer: Answer, ends?: boolean): void;
  /**
   * The turn ends with this answer, and gives, where one was asked for, the output by schema. Of a sub-agent's
   * thread there is nothing to write: it is over when its last answer is there.
   */
  end(answer: Pick<StoredMessage, 'message_id' | 'stop_reason'>, structured?: Structured): void;
  /** The Engine tells the model something; so it is asked again. */
  tell(note: TextBlock): void;
  /** A model call beside the conversation has given an answer: its usage is shown and counts, no more. */
  aside(call: number, answer: Answer): void;
  /** Older messages were condensed. */
  condense(row: NewCompaction): void;
  /** What goes with the message that began the turn is known, and stays with it. */
  settleTail(opening: StoredMessage, tail: ContentBlock[], shown: EventBody[], plan?: NoteChange): void;
  /** A note is written. */
  remember(change: NoteChange): void;
  /** A sub-agent's thread begins with what it is told. */
  open(text: string, tail: ContentBlock[]): void;
  /** A tool call that must not happen twice runs from now on. */
  start(call: CallId): void;
  /**
   * A tool call has come to an end. Its result is shown once those before it are; with the last one the results
   * join the history.
   */
  settle(
    asking: StoredMessage,
    call: CallId,
    state: 'done' | 'unknown',
    outcome: Outcome,
    duration_ms: number,
    /** Told to the model after the results. */
    note?: TextBlock,
    /** Why it was allowed or not. */
    decided?: Decided,
  ): void;
  /** A person is asked; the turn waits. */
  ask(
    request: Omit<NewHitlRequest, 'request_id' | 'task_id' | 'turn_id' | 'created_at' | 'expires_at'>,
    decided?: Decided,
  ): void;
};

/** What was decided about a call, for those who look after the Engine. */
export type Decided = Pick<Observed, 'kind' | 'data'>;

/** `repairs`: answers before it that did not fit the schema. */
export type Structured = { output: unknown; repairs: number };

/** One whole model answer. */
export type Answer = { content: ContentBlock[] } & Omit<Extract<StreamEvent, { type: 'finish' }>, 'type'>;

export type RecordParts = {
  brain: Brain;
  now: () => number;
  newId: NewId;
  /** How long a person has to answer, milliseconds (`CHANNEL_STATE_TTL_HITL`). */
  hitl_ttl_ms: number;
  secrets: Secrets;
};

/** What takes secrets out: of all that is shown or kept to be shown, and of what tools say to the model. */
export type Secrets = { shown: Scrubber; model: Scrubber };

export type TurnIds = { task_id: string; turn_id: string };

/** `active_ms`: running time of the turn so far, kept with every step. */
export function turnRecord(
  { brain, now, newId, hitl_ttl_ms, secrets }: RecordParts,
  { task_id, turn_id }: TurnIds,
  active_ms: () => number = () => 0,
): TurnRecord {
  const { events, messages, compactions, turns, model_calls, tool_calls, hitl, working_memory } = brain;

  const end = (last_event_id: number, error: string | null) => {
    const ended_at = now();
    turns.end(turn_id, { error, ended_at, last_event_id });
    brain.conversations.touch(task_id, ended_at);
  };

  /** Kinds of secrets that were taken out since the last step. */
  const hidden = new Set<string>();
  const hide = (scrubbed: unknown) => {
    for (const kind of kindsIn(scrubbed)) hidden.add(kind);
  };

  /** One step of the turn, with the time it has taken so far, and what it does not show. */
  const commit = (written: NewEvent[], change: (ids: number[]) => void) =>
    events.commit(written, (ids) => {
      change(ids);
      if (hidden.size > 0) {
        const data = { kinds: [...hidden].sort() };
        brain.observability.append({ kind: 'secrets_redacted', task_id, turn_id, timestamp: now(), data });
        hidden.clear();
      }
      turns.setActive(turn_id, active_ms());
    });

  function thread(thread_id: string, parent_tool_call_id?: string): ThreadRecord {
    const outgoing = createOutgoing({ task_id, turn_id }, parent_tool_call_id, now, secrets.shown, hide);
    const toEvent = outgoing.whole;

    const observe = (decided: Decided | undefined) => {
      if (decided === undefined) return;
      brain.observability.append({ ...secrets.shown.value(decided), task_id, turn_id, timestamp: now() });
    };

    const store = (content: ContentBlock[], tail?: ContentBlock[]) => {
      const message_id = newId('msg');
      const place = { message_id, task_id, turn_id, thread_id };
      messages.append({ ...place, role: 'user', content, tail, created_at: now(), usage: null });
    };

    return {
      thread_id,
      toEvent,
      emit(event) {
        for (const out of outgoing.streamed(event)) events.append(out);
      },

      beginCall(position) {
        let call = 0;
        commit([], () => {
          const cursor = events.lastId();
          call = model_calls.begin({ turn_id, thread_id, position, cursor, started_at: now() });
        });
        return call;
      },

      breakCall(call, shown) {
        outgoing.drop();
        commit(shown.map(toEvent), () => model_calls.end(call, 'broken', now()));
      },

      answer(call, { content, stop_reason, usage, model, cost_usd }, ends = true) {
        const message_id = newId('msg');
        const calls = toolCalls(content);
        const ends_turn = ends && calls.length === 0 && thread_id === '';
        const shown: EventBody[] = [
          { type: 'usage', ...usage, model, cost_usd },
          ...calls.map(toolCallEvent),
        ];
        if (ends_turn) shown.push(completed({ message_id, stop_reason }));
        commit(shown.map(toEvent), (ids) => {
          messages.append({
            message_id,
            task_id,
            turn_id,
            thread_id,
            role: 'assistant',
            content,
            created_at: now(),
            usage: { ...usage, model },
            stop_reason,
          });
          tool_calls.intend({ message_id, turn_id, thread_id }, calls);
          model_calls.end(call, 'done', now());
          turns.spend(turn_id, usage, cost_usd ?? 0);
          if (ends_turn) end(Math.max(...ids), null);
        });
      },

      end(answer, structured) {
        if (thread_id !== '') return;
        const shown: EventBody[] = [completed(answer)];
        if (structured !== undefined) shown.unshift({ type: 'structured_output', ...structured });
        commit(shown.map(toEvent), (ids) => end(Math.max(...ids), null));
      },

      tell(note) {
        commit([], () => store([note]));
      },

      aside(call, { usage, model, cost_usd }) {
        commit([toEvent({ type: 'usage', ...usage, model, cost_usd })], () => {
          model_calls.end(call, 'done', now());
          turns.spend(turn_id, usage, cost_usd ?? 0);
        });
      },

      condense(row) {
        const { before_tokens, after_tokens } = row;
        const event: EventBody = {
          type: 'compaction_event',
          before_tokens,
          after_tokens,
          strategy: 'summary',
        };
        const place = { task_id, turn_id, thread_id };
        commit([toEvent(event)], () => compactions.insert({ ...row, ...place, created_at: now() }));
      },

      settleTail({ message_id }, tail, shown, plan) {
        const events = plan === undefined ? shown : [...shown, noteEvent(plan)];
        commit(events.map(toEvent), () => {
          messages.setTail(message_id, tail);
          if (plan !== undefined) working_memory.append(task_id, plan, now());
        });
      },

      remember(change) {
        commit([toEvent(noteEvent(change))], () => working_memory.append(task_id, change, now()));
      },

      open(text, tail) {
        commit([], () => store([{ type: 'text', text }], tail));
      },

      start(call) {
        commit([], () => tool_calls.start(call));
      },

      settle(asking, call, state, said_by_tool, duration_ms, note, decided) {
        const outcome = secrets.model.value(said_by_tool);
        if (outcome !== said_by_tool) hide(outcome);
        const rows = tool_calls
          .ofMessage(call.message_id)
          .map((row) => (row.ordinal === call.ordinal ? { ...row, outcome, duration_ms } : row));
        const held = rows.findIndex((row) => row.outcome === null);
        const showing = (held < 0 ? rows : rows.slice(0, held)).filter((row) => !row.shown);
        commit(showing.map(toolResultEvent).map(toEvent), () => {
          tool_calls.settle(call, state, outcome, duration_ms);
          observe(decided);
          for (const row of showing) tool_calls.show(row);
          if (held < 0) {
            const said = rows.flatMap((row) => hitl.said(row));
            store(resultsMessage(toolCalls(asking.content), rows, said, newId('outside'), note));
          }
        });
      },

      ask(request, decided) {
        const created_at = now();
        const asked = {
          ...secrets.shown.value(request),
          request_id: newId('hitl'),
          task_id,
          turn_id,
          created_at,
          expires_at: created_at + hitl_ttl_ms,
        };
        const { request_id, kind, question, tool, input, findings } = asked;
        const event: EventBody = {
          type: 'hitl_request',
          request_id,
          kind,
          question,
          ...(tool !== null && { tool }),
          ...(input !== null && { input }),
          ...(kind === 'permission' && { answers: answersTo(findings) }),
          created_at: new Date(created_at).toISOString(),
          expires_at: new Date(asked.expires_at).toISOString(),
        };
        commit([toEvent(event)], () => {
          hitl.ask(asked);
          observe(decided);
        });
      },
    };
  }

  return {
    thread,

    spent() {
      const spent = turns.spent(turn_id);
      return { ...spent, active_ms: Math.max(spent.active_ms, active_ms()) };
    },

    resume(voided, broken) {
      const own = thread('');
      commit([...voided, own.toEvent({ type: 'task_lifecycle', phase: 'resumed' })], () => {
        for (const call of broken) model_calls.end(call, 'broken', now());
      });
    },

    fail(error, before = []) {
      const body = error.body();
      const own = thread('');
      const shown: EventBody[] = [
        ...before,
        { type: 'thread_lifecycle', phase: 'errored', error: body },
        { type: 'error', ...body },
      ];
      commit(shown.map(own.toEvent), (ids) => {
        const last = messages.last(task_id, '');
        const owed =
          last === undefined
            ? undefined
            : owedResults(last, tool_calls.ofMessage(last.message_id), newId('outside'));
        if (owed !== undefined) {
          const message_id = newId('msg');
          messages.append({
            ...owed,
            message_id,
            task_id,
            turn_id,
            thread_id: '',
            created_at: now(),
            usage: null,
          });
        }
        hitl.close(task_id, error.code === 'HITL_EXPIRED' ? 'expired' : 'withdrawn');
        end(Math.max(...ids), JSON.stringify(secrets.shown.value(body)));
      });
    },
  };
}

const completed = ({
  message_id,
  stop_reason,
}: Pick<StoredMessage, 'message_id' | 'stop_reason'>): EventBody => ({
  type: 'thread_lifecycle',
  phase: 'completed',
  message_id,
  stop_reason: stop_reason === 'max_tokens' ? 'max_tokens' : 'end_turn',
});

const toolCallEvent = (call: ToolUseBlock): EventBody => ({
  type: 'tool_call',
  tool: call.name,
  tool_call_id: call.id,
  input: call.input,
});

const toolResultEvent = (row: ToolCallRow): EventBody => ({
  type: 'tool_result',
  tool: row.tool,
  tool_call_id: row.tool_call_id,
  output: row.outcome?.output ?? '',
  ...(row.outcome?.error !== undefined && { error: row.outcome.error }),
  duration_ms: row.duration_ms ?? 0,
});

const noteEvent = ({ key, value }: NoteChange): EventBody =>
  value === null
    ? { type: 'working_memory_update', op: 'delete', key }
    : { type: 'working_memory_update', op: 'set', key, value };

/** What a turn starts from. */
export type Opening = TurnIds & {
  agent: string;
  message: string;
  /** As the media intake gave them back. */
  media?: TakenMedia;
  /** What the Engine adds to it. */
  note?: TextBlock | undefined;
  /** Where it goes back to; undefined where it only goes on. */
  rewind?: Rewind | undefined;
  request: string;
  metadata: string;
  idempotency_key: string | undefined;
};

/**
 * Writes the user's message, unless an earlier one is answered again, and shows `thread_lifecycle` started and
 * what changed in the task, as one.
 * @returns id of the turn's first event.
 */
export function openTurn({ brain, now, newId, secrets }: RecordParts, opening: Opening): number {
  const { task_id, turn_id, agent, rewind } = opening;
  const message_id = rewind?.message_id ?? newId('msg');
  const at = now();
  const shown: EventBody[] = [{ type: 'thread_lifecycle', phase: 'started', message_id, agent }];
  const change = brain.conversations.exists(task_id) ? rewind?.phase : 'created';
  if (change !== undefined) shown.push({ type: 'task_lifecycle', phase: change });
  const { whole } = createOutgoing(opening, undefined, () => at, secrets.shown);
  const [first_event_id] = brain.events.commit(shown.map(whole), (ids) => {
    brain.conversations.touch(task_id, at);
    brain.working_memory.expire(at, task_id);
    brain.turns.insert({ ...opening, started_at: at, first_event_id: Math.min(...ids) });
    if (rewind !== undefined) {
      brain.messages.supersede(task_id, rewind.from);
      brain.compactions.forget(task_id, rewind.from);
      brain.ingestion.forget(task_id, rewind.from);
      brain.working_memory.forget(task_id, rewind.from);
    }
    const notes = opening.note === undefined ? [] : [opening.note];
    const said: ContentBlock[] = [{ type: 'text', text: opening.message }, ...(opening.media?.blocks ?? [])];
    // A message that is answered again stays as it was; what is new stands behind it.
    const again = rewind?.phase === 'retried';
    const content = again ? notes : [...said, ...notes];
    if (content.length === 0) return;
    const position = brain.messages.append({
      message_id: again ? newId('msg') : message_id,
      task_id,
      turn_id,
      thread_id: '',
      role: 'user',
      content,
      created_at: at,
      usage: null,
    });
    if (!again) brain.ingestion.insert(task_id, position, opening.media?.documents ?? []);
  });
  if (first_event_id === undefined) throw new Error('The event log gave no id for the first event of a turn');
  return first_event_id;
}

/** Writes a person's answer, and what they allowed for later, and shows `hitl_resolved`, as one. @returns false when nothing waited for it any more. */
export function resolveRequest(
  { brain, now, newId, secrets }: RecordParts,
  request: TurnIds & Pick<HitlRequest, 'request_id' | 'tool' | 'findings'>,
  answered: Answered,
  documents: IngestedDocument[],
): boolean {
  const { request_id } = request;
  if (!brain.hitl.waiting(request.task_id).some((waiting) => waiting.request_id === request_id)) return false;
  const resolved: EventBody = { type: 'hitl_resolved', request_id, answer: answered.answer };
  const { whole } = createOutgoing(request, undefined, now, secrets.shown);
  brain.events.commit([whole(resolved)], () => {
    brain.hitl.answer(request_id, answered, now());
    for (const { danger, subject } of answered.answer.startsWith('always') ? (request.findings ?? []) : []) {
      brain.remembered_permissions.add({
        permission_id: newId('perm'),
        task_id: answered.answer === 'always' ? request.task_id : null,
        tool: request.tool ?? '',
        danger,
        subject,
        created_at: now(),
      });
    }
    brain.ingestion.insert(request.task_id, brain.messages.newest(request.turn_id), documents);
  });
  return true;
}
