import type { Brain } from '../brain/brain.ts';
import type { NewEvent } from '../brain/channel_state.ts';
import type { EngineError } from '../errors.ts';
import type { NewId } from '../ids.ts';
import type { ContentBlock, Message, StopReason, Usage } from '../types.ts';
import type { EventBody } from './events.ts';
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
  /** The turn failed: `thread_lifecycle` errored, then `error` as the very last event (E9). */
  fail(error: EngineError): void;
};

/** One whole model answer. */
export type Answer = { content: ContentBlock[]; stop_reason: StopReason; usage: Usage; model: string };

export type RecordParts = { brain: Brain; now: () => number; newId: NewId };

export type TurnIds = { task_id: string; turn_id: string };

export function turnRecord({ brain, now, newId }: RecordParts, { task_id, turn_id }: TurnIds): TurnRecord {
  const toEvent = (event: EventBody): NewEvent => newEvent({ task_id, turn_id }, event, now());

  const store = (message: Message, message_id = newId('msg')) =>
    brain.messages.append({ ...message, message_id, task_id, turn_id, created_at: now() });

  const usageEvent = (answer: Answer): EventBody => ({ type: 'usage', ...answer.usage, model: answer.model });

  const end = (last_event_id: number, error: string | null) => {
    brain.turns.end(turn_id, { error, ended_at: now(), last_event_id });
    brain.conversations.touch(task_id, now());
  };

  return {
    emit: (event) => brain.events.append(toEvent(event)),

    append(message) {
      brain.events.commit([], () => store(message));
    },

    answer(answer, events) {
      brain.events.commit([usageEvent(answer), ...events].map(toEvent), () => {
        store({ role: 'assistant', content: answer.content });
        brain.turns.addUsage(turn_id, answer.usage);
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
        store({ role: 'assistant', content: answer.content }, message_id);
        brain.turns.addUsage(turn_id, answer.usage);
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
    brain.messages.append({ message_id, task_id, turn_id, role: 'user', content, created_at: at });
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
