import type { Brain } from '../brain/brain.ts';
import type { NewEvent } from '../brain/channel_state.ts';
import type { EngineError } from '../errors.ts';
import type { NewId } from '../ids.ts';
import type { ContentBlock, Message, StreamEvent } from '../types.ts';
import type { EventBody } from './events.ts';
import type { Spent } from './guards.ts';
import { interruptedResults } from './history.ts';

/**
 * What a turn leaves behind: its events, its messages, its row. The loop says what happened; here it is
 * written, each step in one transaction, so that a kill at any instant leaves the history, the replay and the
 * turn's state agreeing with each other. Source: engine-runtime, "Durability and resume".
 */
export type TurnRecord = {
  /** Shows an event, a few milliseconds later, together with its neighbours. */
  emit(event: EventBody): void;
  /** Adds a message to the history. What was emitted before it is in the brain with it. */
  append(message: Message): void;
  /** A model call is over: its answer joins the history, then its usage and `events` are shown. */
  answer(answer: Answer, events: EventBody[]): void;
  /** The last model call is over and with it the turn. */
  complete(answer: Answer): void;
  /** What the turn has spent until now, earlier runs of it included. */
  spent(): Spent;
  /** The turn failed: `thread_lifecycle` errored, then `error` as the very last event (E9). */
  fail(error: EngineError): void;
};

/** One whole model answer. */
export type Answer = { content: ContentBlock[] } & Omit<Extract<StreamEvent, { type: 'finish' }>, 'type'>;

export type RecordParts = { brain: Brain; now: () => number; newId: NewId };

export type TurnIds = { task_id: string; turn_id: string };

/** `active_ms`: how long the turn has run. */
export function turnRecord(
  { brain, now, newId }: RecordParts,
  { task_id, turn_id }: TurnIds,
  active_ms: () => number = () => 0,
): TurnRecord {
  const toEvent = (event: EventBody): NewEvent => newEvent({ task_id, turn_id }, event, now());

  const store = (message: Message, message_id = newId('msg')) =>
    brain.messages.append({ ...message, message_id, task_id, turn_id, created_at: now(), usage: null });

  const storeAnswer = ({ content, usage, model }: Answer, message_id = newId('msg')) => {
    const created_at = now();
    brain.messages.append({
      role: 'assistant',
      content,
      message_id,
      task_id,
      turn_id,
      created_at,
      usage: { ...usage, model },
    });
    brain.turns.spend(turn_id, usage, 0);
    brain.turns.setActive(turn_id, active_ms());
  };

  const usageEvent = ({ usage, model, cost_usd }: Answer): EventBody => ({
    type: 'usage',
    ...usage,
    model,
    cost_usd,
  });

  const end = (last_event_id: number, error: string | null) => {
    brain.turns.end(turn_id, { error, ended_at: now(), last_event_id });
    brain.conversations.touch(task_id, now());
  };

  return {
    emit: (event) => brain.events.append(toEvent(event)),

    append(message) {
      brain.events.commit([], () => {
        store(message);
        brain.turns.setActive(turn_id, active_ms());
      });
    },

    spent() {
      const spent = brain.turns.spent(turn_id);
      return { ...spent, active_ms: Math.max(spent.active_ms, active_ms()) };
    },

    answer(answer, events) {
      brain.events.commit([usageEvent(answer), ...events].map(toEvent), () => {
        storeAnswer(answer);
      });
    },

    complete(answer) {
      const message_id = newId('msg');
      const stop_reason = answer.stop_reason === 'max_tokens' ? 'max_tokens' : 'end_turn';
      const events: EventBody[] = [
        usageEvent(answer),
        { type: 'thread_lifecycle', phase: 'completed', message_id, stop_reason },
      ];
      brain.events.commit(events.map(toEvent), (ids) => {
        storeAnswer(answer, message_id);
        end(Math.max(...ids), null);
      });
    },

    fail(error) {
      const body = error.body();
      const events: EventBody[] = [
        { type: 'thread_lifecycle', phase: 'errored', error: body },
        { type: 'error', ...body },
      ];
      brain.events.commit(events.map(toEvent), (ids) => {
        const owed = interruptedResults(brain.messages.last(task_id));
        if (owed !== undefined) store(owed);
        end(Math.max(...ids), JSON.stringify(body));
      });
    },
  };
}

/** What a turn starts from. */
export type Opening = TurnIds & {
  agent: string;
  message: string;
  request: string;
  metadata: string;
  idempotency_key: string | undefined;
};

/**
 * Writes the user's message and shows `thread_lifecycle` started, as one.
 * @returns id of that event, the turn's first.
 */
export function openTurn({ brain, now, newId }: RecordParts, opening: Opening): number {
  const { task_id, turn_id, agent } = opening;
  const message_id = newId('msg');
  const at = now();
  const started: EventBody = { type: 'thread_lifecycle', phase: 'started', message_id, agent };
  const [first_event_id] = brain.events.commit([newEvent(opening, started, at)], (ids) => {
    brain.conversations.touch(task_id, at);
    brain.turns.insert({ ...opening, started_at: at, first_event_id: Math.max(...ids) });
    const content: ContentBlock[] = [{ type: 'text', text: opening.message }];
    brain.messages.append({
      message_id,
      task_id,
      turn_id,
      role: 'user',
      content,
      created_at: at,
      usage: null,
    });
  });
  if (first_event_id === undefined) throw new Error('The event log gave no id for the first event of a turn');
  return first_event_id;
}

function newEvent({ task_id, turn_id }: TurnIds, event: EventBody, timestamp: number): NewEvent {
  const { type, ...own } = event;
  const data = JSON.stringify({
    type,
    task_id,
    turn_id,
    timestamp: new Date(timestamp).toISOString(),
    ...own,
  });
  return { task_id, turn_id, type, timestamp, data };
}
