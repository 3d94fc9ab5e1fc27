/**
 * Failures become answers here, and only here: a code of the catalogue, its status, the nested body,
 * `Retry-After` where the catalogue has one. What is not a code of the catalogue is a fault of ours; its
 * details go to the log under the request's id, never to the caller.
 */
import { type FieldIssue, OrchestratorErrorBody } from '@september/contract';
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { z } from 'zod';
import { ERRORS, type ErrorCode, OrchestratorError } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import type { Env } from './context.ts';

/** What any endpoint may answer. */
const COMMON: ErrorCode[] = ['INVALID_REQUEST', 'INTERNAL_ERROR', 'NOT_READY'];
/** The router's names for the parts of a request, and ours. */
const PARTS: Record<string, string> = { json: 'body', param: 'path', query: 'query' };

/** The answer to a failure, told to the log where it is ours. */
export function errorAnswer(log: Log, request_id: string, error: Error) {
  const { code, message, details, retry_after_s } = asOrchestratorError(error);
  if (code === 'INTERNAL_ERROR' || code === 'NOT_READY') {
    log.error({ request_id, err: error }, 'request failed');
  }
  const body: OrchestratorErrorBody = { error: { code, message, ...(details && { details }) } };
  return { status: ERRORS[code].status, retry_after_s, body };
}

export function answerError(log: Log) {
  return (error: Error, c: Context<Env>): Response => {
    const { status, retry_after_s, body } = errorAnswer(log, c.get('request_id'), error);
    if (retry_after_s !== undefined) c.header('Retry-After', String(retry_after_s));
    return c.json(body, status);
  };
}

function asOrchestratorError(error: Error): OrchestratorError {
  if (error instanceof OrchestratorError) return error;
  // The router's own refusals: a body it cannot read.
  if (error instanceof HTTPException) {
    return error.status === 415
      ? invalid([{ path: 'header.content-type', message: 'must be application/json' }])
      : invalid([{ path: 'body', message: 'is not valid JSON' }]);
  }
  return new OrchestratorError(
    'INTERNAL_ERROR',
    'Something went wrong here; the log has it by X-Request-Id.',
    {
      cause: error,
    },
  );
}

/** `INVALID_REQUEST` that names each field and what is wanted. */
export function invalid(issues: FieldIssue[]): OrchestratorError {
  const message = issues.map((issue) => `${issue.path} ${issue.message}`).join('; ');
  return new OrchestratorError('INVALID_REQUEST', message, { details: { issues } });
}

/** Called by the router with the verdict of each schema. */
export function refuseInvalid(
  result: { target: string } & ({ success: true } | { success: false; error: z.ZodError }),
): void {
  if (result.success) return;
  throw invalid(
    result.error.issues.map((issue) => ({
      path: [PARTS[result.target] ?? result.target, ...issue.path].join('.'),
      message: issue.message,
    })),
  );
}

/** The error answers of an endpoint, for its documentation; every endpoint can give the common ones. */
export function errorResponses(codes: ErrorCode[]) {
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of [...codes, ...COMMON]) {
    const { status } = ERRORS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return Object.fromEntries(
    [...byStatus].map(([status, all]) => [
      status,
      {
        description: all
          .map((code) => `\`${code}\`: ${ERRORS[code].cause} ${ERRORS[code].advice}`)
          .join('\n\n'),
        content: { 'application/json': { schema: OrchestratorErrorBody } },
      },
    ]),
  );
}
