import type { DatabaseSync } from 'node:sqlite';
import type { Usage } from '../types.ts';
import { integer, integerOrNull, type Row, real, text, textOrNull } from './sqlite.ts';

export type NewTurn = {
  turn_id: string;
  task_id: string;
  agent: string;
  /** What was asked, JSON. */
  request: string;
  /** The caller's own data, JSON (E4). */
  metadata: string;
  idempotency_key: string | undefined;
  started_at: number;
  first_event_id: number;
};

export type TurnRow = {
  turn_id: string;
  task_id: string;
  agent: string;
  request: string;
  first_event_id: number;
  /** Null while the turn runs. */
  last_event_id: number | null;
};

/** A turn as it is shown. Times are Unix milliseconds. */
export type ListedTurn = {
  turn_id: string;
  /** `waiting`: for a person. */
  status: 'running' | 'waiting' | 'completed' | 'errored';
  agent: string;
  started_at: number;
  /** Null while it runs. */
  ended_at: number | null;
  usage: Usage;
  /** JSON. */
  metadata: string;
  /** Body of the error as JSON, null unless it is errored. */
  error: string | null;
};

export type Turns = ReturnType<typeof openTurns>;

/** Every turn ever taken, and which are in flight. Times are Unix milliseconds. */
export function openTurns(db: DatabaseSync) {
  const columns = 'turn_id, task_id, agent, request, first_event_id, last_event_id';
  const insert = db.prepare(`
    INSERT INTO turns (turn_id, task_id, status, agent, request, metadata, idempotency_key, started_at, first_event_id)
    VALUES (?, ?, 'running', ?, ?, ?, ?, ?, ?)`);
  const spend = db.prepare(`
    UPDATE turns SET model_calls = model_calls + 1, input_tokens = input_tokens + ?,
      output_tokens = output_tokens + ?, cache_hit_tokens = cache_hit_tokens + ?, cost_usd = cost_usd + ?
    WHERE turn_id = ?`);
  const setActive = db.prepare('UPDATE turns SET active_ms = max(active_ms, ?) WHERE turn_id = ?');
  const spent = db.prepare(`
    SELECT model_calls, input_tokens + output_tokens AS tokens, cost_usd, active_ms FROM turns WHERE turn_id = ?`);
  const resume = db.prepare(`
    UPDATE turns SET resumes = CASE WHEN resumed_at = ?1 THEN resumes + 1 ELSE 1 END, resumed_at = ?1
     WHERE turn_id = ?2 RETURNING resumes`);
  const end = db.prepare(
    'UPDATE turns SET status = ?, error = ?, ended_at = ?, last_event_id = ? WHERE turn_id = ?',
  );
  const running = db.prepare(
    `SELECT ${columns} FROM turns WHERE status = 'running' AND task_id = coalesce(?, task_id) ORDER BY first_event_id`,
  );
  const byKey = db.prepare(`
    SELECT ${columns} FROM turns
    WHERE task_id = ? AND idempotency_key = ? AND (ended_at IS NULL OR ended_at >= ?)
    ORDER BY first_event_id DESC LIMIT 1`);
  const ofTask = db.prepare(`
    SELECT turn_id, status, agent, started_at, ended_at, input_tokens, output_tokens, cache_hit_tokens, metadata, error,
           EXISTS (SELECT 1 FROM hitl_requests h WHERE h.turn_id = t.turn_id AND state = 'waiting') AS waiting
      FROM turns t WHERE task_id = ? ORDER BY first_event_id`);

  return {
    insert(turn: NewTurn): void {
      insert.run(
        turn.turn_id,
        turn.task_id,
        turn.agent,
        turn.request,
        turn.metadata,
        turn.idempotency_key ?? null,
        turn.started_at,
        turn.first_event_id,
      );
    },

    /** One model call more. `cost_usd`: 0 where the price is not known. */
    spend(turn_id: string, usage: Usage, cost_usd: number): void {
      spend.run(usage.input_tokens, usage.output_tokens, usage.cache_hit_tokens, cost_usd, turn_id);
    },

    /** The turn has run for so long, milliseconds; less than is known changes nothing. */
    setActive(turn_id: string, active_ms: number): void {
      setActive.run(active_ms, turn_id);
    },

    /** What the turn has spent until now. */
    spent(turn_id: string): { iterations: number; tokens: number; cost_usd: number; active_ms: number } {
      const row = spent.get(turn_id);
      if (row === undefined) throw new Error(`There is no turn ${turn_id}`);
      return {
        iterations: integer(row, 'model_calls'),
        tokens: integer(row, 'tokens'),
        cost_usd: real(row, 'cost_usd'),
        active_ms: integer(row, 'active_ms'),
      };
    },

    /** Notes that the turn is taken up again at `place`. @returns how often it has been at this very place. */
    resume(turn_id: string, place: string): number {
      const row = resume.get(place, turn_id);
      return row === undefined ? 0 : integer(row, 'resumes');
    },

    /** `error`: its body as JSON, null for a turn that completed. */
    end(turn_id: string, outcome: { error: string | null; ended_at: number; last_event_id: number }): void {
      const status = outcome.error === null ? 'completed' : 'errored';
      end.run(status, outcome.error, outcome.ended_at, outcome.last_event_id, turn_id);
    },

    /** Those that have not ended, of one task or all: running, waiting for a person, or cut by a kill. */
    inFlight: (task_id?: string): TurnRow[] => running.all(task_id ?? null).map(toTurn),

    /** All turns of a task, oldest first. */
    ofTask: (task_id: string): ListedTurn[] => ofTask.all(task_id).map(toListed),

    /** The newest turn of the task with this key that runs, or ended at or after `ended_after`. */
    byIdempotencyKey(task_id: string, key: string, ended_after: number): TurnRow | undefined {
      const row = byKey.get(task_id, key, ended_after);
      return row === undefined ? undefined : toTurn(row);
    },
  };
}

function toTurn(row: Row): TurnRow {
  return {
    turn_id: text(row, 'turn_id'),
    task_id: text(row, 'task_id'),
    agent: text(row, 'agent'),
    request: text(row, 'request'),
    first_event_id: integer(row, 'first_event_id'),
    last_event_id: integerOrNull(row, 'last_event_id'),
  };
}

function toListed(row: Row): ListedTurn {
  return {
    turn_id: text(row, 'turn_id'),
    status: integer(row, 'waiting') === 1 ? 'waiting' : toStatus(text(row, 'status')),
    agent: text(row, 'agent'),
    started_at: integer(row, 'started_at'),
    ended_at: integerOrNull(row, 'ended_at'),
    usage: {
      input_tokens: integer(row, 'input_tokens'),
      output_tokens: integer(row, 'output_tokens'),
      cache_hit_tokens: integer(row, 'cache_hit_tokens'),
    },
    metadata: text(row, 'metadata'),
    error: textOrNull(row, 'error'),
  };
}

function toStatus(status: string): 'running' | 'completed' | 'errored' {
  if (status === 'running' || status === 'completed' || status === 'errored') return status;
  throw new TypeError(`A turn is ${status}`);
}
