import type { DatabaseSync } from 'node:sqlite';
import type { ContentBlock, Finding } from '../types.ts';
import { integer, integerOrNull, type Row, text, textOrNull } from './sqlite.ts';

/** What a person has said. `content` are blocks to include, such as images. */
export type Answered = { answer: string; feedback: string | null; content: ContentBlock[] };

/** Why a call asks: before it runs at all (`gate`), or because an earlier run was cut (`again`). */
export type Purpose = 'gate' | 'again';

export type NewHitlRequest = {
  request_id: string;
  task_id: string;
  turn_id: string;
  message_id: string;
  ordinal: number;
  purpose: Purpose;
  attempt: number;
  kind: 'permission' | 'question';
  question: string;
  tool: string | null;
  input: Record<string, unknown> | null;
  /** What exactly is to be allowed; null where the question says it all. */
  findings: Finding[] | null;
  created_at: number;
  expires_at: number;
};

export type HitlRequest = NewHitlRequest & {
  state: 'waiting' | 'answered' | 'withdrawn' | 'expired';
  /** Null while it waits. */
  answered: Answered | null;
};

export type Hitl = ReturnType<typeof openHitl>;

/** Questions to the person (E8): one waiting per task, kept over restarts, answered once. */
export function openHitl(db: DatabaseSync) {
  const insert = db.prepare(`
    INSERT INTO hitl_requests (request_id, task_id, turn_id, message_id, ordinal, purpose, attempt, kind, question,
      tool, input, findings, created_at, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  const byCall = db.prepare(
    'SELECT * FROM hitl_requests WHERE message_id = ? AND ordinal = ? AND purpose = ? AND attempt = ?',
  );
  const ofCall = db.prepare(
    "SELECT * FROM hitl_requests WHERE message_id = ? AND ordinal = ? AND state = 'answered' ORDER BY answered_at",
  );
  const waiting = db.prepare(
    "SELECT * FROM hitl_requests WHERE state = 'waiting' AND task_id = coalesce(?, task_id) ORDER BY created_at, request_id",
  );
  const answer = db.prepare(`
    UPDATE hitl_requests SET state = 'answered', answer = ?, feedback = ?, content = ?, answered_at = ?
     WHERE request_id = ? AND state = 'waiting'`);
  const close = db.prepare("UPDATE hitl_requests SET state = ? WHERE task_id = ? AND state = 'waiting'");

  return {
    ask(request: NewHitlRequest): void {
      insert.run(
        request.request_id,
        request.task_id,
        request.turn_id,
        request.message_id,
        request.ordinal,
        request.purpose,
        request.attempt,
        request.kind,
        request.question,
        request.tool,
        request.input === null ? null : JSON.stringify(request.input),
        request.findings === null ? null : JSON.stringify(request.findings),
        request.created_at,
        request.expires_at,
      );
    },

    /** What was asked about a call, and what became of it. */
    about(
      call: { message_id: string; ordinal: number },
      purpose: Purpose,
      attempt: number,
    ): HitlRequest | undefined {
      const row = byCall.get(call.message_id, call.ordinal, purpose, attempt);
      return row === undefined ? undefined : toRequest(row);
    },

    /** What was said about a call beyond the answer itself. */
    said: (call: { message_id: string; ordinal: number }): Answered[] =>
      ofCall
        .all(call.message_id, call.ordinal)
        .map((row) => toRequest(row).answered)
        .filter((said) => said !== null)
        .filter(({ feedback, content }) => feedback !== null || content.length > 0),

    /** Oldest first; of one task (at most one then), or of all. */
    waiting: (task_id?: string): HitlRequest[] => waiting.all(task_id ?? null).map(toRequest),

    /** False when it does not wait any more. */
    answer(request_id: string, { answer: said, feedback, content }: Answered, answered_at: number): boolean {
      return answer.run(said, feedback, JSON.stringify(content), answered_at, request_id).changes === 1;
    },

    /** Nobody shall answer the waiting request of a task any more. */
    close(task_id: string, state: 'withdrawn' | 'expired'): void {
      close.run(state, task_id);
    },
  };
}

function toRequest(row: Row): HitlRequest {
  const input = textOrNull(row, 'input');
  const findings = textOrNull(row, 'findings');
  const answer = textOrNull(row, 'answer');
  return {
    request_id: text(row, 'request_id'),
    task_id: text(row, 'task_id'),
    turn_id: text(row, 'turn_id'),
    message_id: text(row, 'message_id'),
    ordinal: integer(row, 'ordinal'),
    purpose: text(row, 'purpose') === 'again' ? 'again' : 'gate',
    attempt: integer(row, 'attempt'),
    kind: text(row, 'kind') === 'permission' ? 'permission' : 'question',
    question: text(row, 'question'),
    tool: textOrNull(row, 'tool'),
    input: input === null ? null : JSON.parse(input),
    findings: findings === null ? null : JSON.parse(findings),
    created_at: integer(row, 'created_at'),
    expires_at: integer(row, 'expires_at'),
    state: toState(text(row, 'state')),
    answered:
      answer === null || integerOrNull(row, 'answered_at') === null
        ? null
        : {
            answer,
            feedback: textOrNull(row, 'feedback'),
            content: JSON.parse(textOrNull(row, 'content') ?? '[]'),
          },
  };
}

function toState(state: string): HitlRequest['state'] {
  if (state === 'waiting' || state === 'answered' || state === 'withdrawn' || state === 'expired')
    return state;
  throw new TypeError(`A request to a person is ${state}`);
}
