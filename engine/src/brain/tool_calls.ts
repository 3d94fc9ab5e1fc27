import { createHash } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import type { ToolResultBlock, ToolUseBlock } from '../types.ts';
import { integer, integerOrNull, type Row, text, textOrNull } from './sqlite.ts';

/**
 * The effect ledger (E15): what every tool call has come to.
 *
 * The problem: a process can die between an effect and the note of it, and a call made twice may be a letter
 * sent twice. The rule: a call is in the ledger before it runs, with a key that says what it does; one found
 * `started` without an outcome is treated by the tool's `effect`, never simply run.
 *
 * The key is made of the turn, the tool and the input, not of the place in the loop: a model that asks again
 * for what became `unknown` asks with the same key, and a tool that knows keys does it once. A call that is
 * meant to happen again, after one like it has come to its end, gets a key of its own.
 */
export type CallState = 'intended' | 'started' | 'done' | 'unknown';

/** `hook`: what a hook has said about it. `outside`: strangers wrote it. */
export type Outcome = Pick<ToolResultBlock, 'output' | 'error'> & { hook?: string; outside?: true };

export type ToolCallRow = {
  message_id: string;
  ordinal: number;
  turn_id: string;
  thread_id: string;
  tool_call_id: string;
  tool: string;
  key: string;
  state: CallState;
  attempt: number;
  /** Null until the call is `done` or `unknown`. */
  outcome: Outcome | null;
  duration_ms: number | null;
  shown: boolean;
};

/** Which call: that of `ordinal` (from 0) in the message that asks for it. */
export type CallId = Pick<ToolCallRow, 'message_id' | 'ordinal'>;

export type ToolCalls = ReturnType<typeof openToolCalls>;

export function openToolCalls(db: DatabaseSync) {
  const insert = db.prepare(`
    INSERT INTO tool_calls (message_id, ordinal, turn_id, thread_id, tool_call_id, tool, key, state)
    VALUES (?, ?, ?, ?, ?, ?, ?, 'intended')`);
  const alike = db.prepare(
    "SELECT count(*) AS calls FROM tool_calls WHERE turn_id = ? AND key LIKE ? || '%' AND state != 'unknown'",
  );
  const ofMessage = db.prepare('SELECT * FROM tool_calls WHERE message_id = ? ORDER BY ordinal');
  const byId = db.prepare('SELECT tool_call_id FROM tool_calls WHERE message_id = ? AND ordinal = ?');
  const start = db.prepare(
    "UPDATE tool_calls SET state = 'started', attempt = attempt + 1 WHERE message_id = ? AND ordinal = ?",
  );
  const settle = db.prepare(
    'UPDATE tool_calls SET state = ?, outcome = ?, duration_ms = ? WHERE message_id = ? AND ordinal = ?',
  );
  const show = db.prepare('UPDATE tool_calls SET shown = 1 WHERE message_id = ? AND ordinal = ?');
  const settled = db.prepare(
    "SELECT count(*) AS calls FROM tool_calls WHERE turn_id = ? AND state IN ('done', 'unknown')",
  );

  return {
    /** Writes the calls of one answer down, in their order. */
    intend(of: Pick<ToolCallRow, 'message_id' | 'turn_id' | 'thread_id'>, calls: ToolUseBlock[]): void {
      for (const [ordinal, call] of calls.entries()) {
        const action = actionKey(of.turn_id, call);
        const row = alike.get(of.turn_id, action);
        const occurrence = row === undefined ? 0 : integer(row, 'calls');
        const key = `${action}-${occurrence}`;
        insert.run(of.message_id, ordinal, of.turn_id, of.thread_id, call.id, call.name, key);
      }
    },

    ofMessage: (message_id: string): ToolCallRow[] => ofMessage.all(message_id).map(toRow),

    /** It runs from now on, or may have. */
    start(call: CallId): void {
      start.run(call.message_id, call.ordinal);
    },

    /** `unknown`: nobody can say whether it has happened; the outcome says so to the model. */
    settle(call: CallId, state: 'done' | 'unknown', outcome: Outcome, duration_ms: number): void {
      settle.run(state, JSON.stringify(outcome), duration_ms, call.message_id, call.ordinal);
    },

    /** Its result has been shown. */
    show(call: CallId): void {
      show.run(call.message_id, call.ordinal);
    },

    /** The call that started a sub-agent's thread, undefined for a turn's own thread. */
    startOf(thread_id: string): (CallId & { tool_call_id: string }) | undefined {
      const [message_id = '', place] = thread_id.split('/');
      const ordinal = Number(place);
      const row = byId.get(message_id, ordinal);
      return row === undefined ? undefined : { message_id, ordinal, tool_call_id: text(row, 'tool_call_id') };
    },

    /** How many calls of a turn have come to an end. */
    settled(turn_id: string): number {
      const row = settled.get(turn_id);
      return row === undefined ? 0 : integer(row, 'calls');
    },
  };
}

/** What a call does, in 32 hex digits: the same for the same tool and input in the same turn. */
function actionKey(turn_id: string, call: ToolUseBlock): string {
  const action = JSON.stringify([turn_id, call.name, canonical(call.input)]);
  return createHash('sha256').update(action).digest('hex').slice(0, 32);
}

/** The same value with the members of every object in one order. */
export function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, member]) => [name, canonical(member)]));
}

function toRow(row: Row): ToolCallRow {
  const outcome = textOrNull(row, 'outcome');
  return {
    message_id: text(row, 'message_id'),
    ordinal: integer(row, 'ordinal'),
    turn_id: text(row, 'turn_id'),
    thread_id: text(row, 'thread_id'),
    tool_call_id: text(row, 'tool_call_id'),
    tool: text(row, 'tool'),
    key: text(row, 'key'),
    state: toState(text(row, 'state')),
    attempt: integer(row, 'attempt'),
    outcome: outcome === null ? null : JSON.parse(outcome),
    duration_ms: integerOrNull(row, 'duration_ms'),
    shown: integer(row, 'shown') === 1,
  };
}

function toState(state: string): CallState {
  if (state === 'intended' || state === 'started' || state === 'done' || state === 'unknown') return state;
  throw new TypeError(`A tool call is ${state}`);
}
