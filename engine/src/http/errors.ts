import { EngineErrorBody, type FieldIssue } from '@september/contract';
import type { Context, ErrorHandler } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { core } from 'zod';
import { EngineError, ERRORS } from '../errors.ts';
import { errorFields, type Log } from '../observe/log.ts';
import type { Bindings } from './bindings.ts';

/**
 * Turns a failure into its answer: status and shape from the catalogue, and no more than the catalogue allows
 * to be said. Source: engine-api, "Errors".
 */

/** Seconds after which it is worth asking again: every 429 and 503 says so. */
const RETRY_AFTER_S = 2;

export function answerError(c: Context<Bindings>, error: EngineError): Response {
  const status: ContentfulStatusCode = ERRORS[error.code].status ?? 500;
  if (status === 429 || status === 503) c.header('Retry-After', String(RETRY_AFTER_S));
  return c.json(error.body(), status);
}

/** The last stop of everything thrown in a handler. */
export function onError(log: Log): ErrorHandler<Bindings> {
  return (error, c) => {
    if (error instanceof EngineError) return answerError(c, error);
    if (error instanceof HTTPException) return answerError(c, unreadableBody(error));
    log.error('A request broke', { request_id: c.get('request_id'), extra: errorFields(error) });
    return answerError(
      c,
      new EngineError('INTERNAL_ERROR', 'Something unexpected happened. The log has it.'),
    );
  };
}

type Validated = { target: string } & ({ success: true } | { success: false; error: core.$ZodError });

/** Input that breaks its schema, for the validators of every route. */
export function onInvalid(result: Validated): void {
  if (result.success) return;
  const issues = result.error.issues.map(
    (issue): FieldIssue => ({
      path: [place(result.target), ...issue.path].join('.'),
      message: issue.message,
    }),
  );
  const summary = issues.map((issue) => `${issue.path}: ${issue.message}`).join('; ');
  throw new EngineError('INVALID_REQUEST', summary, { issues });
}

function place(target: string): string {
  return target === 'json' ? 'body' : target;
}

/** What the router itself refuses before our schemas see it. */
function unreadableBody(error: HTTPException): EngineError {
  return error.status === 415
    ? new EngineError('INVALID_REQUEST', 'Content-Type must be application/json.')
    : new EngineError('INVALID_REQUEST', 'The body is not valid JSON.');
}

/** The error answers a route can give, for its documentation. */
export function errorAnswers(...statuses: number[]) {
  return Object.fromEntries(
    statuses.map((status) => [
      status,
      {
        description: Object.entries(ERRORS)
          .filter(([, error]) => error.status === status)
          .map(([code]) => code)
          .join(', '),
        content: { 'application/json': { schema: EngineErrorBody } },
      },
    ]),
  );
}
