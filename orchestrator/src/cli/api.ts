import { OrchestratorErrorBody } from '@september/contract';
import type { z } from 'zod';
import { ERRORS, isErrorCode } from '../errors.ts';
import type { Io } from './command.ts';
import { CommandFailure } from './failure.ts';
import { fleetAccess } from './surroundings.ts';

/** No endpoint that is asked here waits for an engine; one that takes longer does not answer. Milliseconds. */
const TIMEOUT_MS = 30_000;

type Request = { query?: Record<string, string | undefined>; body?: unknown };

/** The orchestrator's API with the admin key. */
export type Api = {
  /** Throws `CommandFailure`: the orchestrator's own code, `UNREACHABLE` or `UNEXPECTED_ANSWER`. */
  call<T>(method: string, path: string, shape: z.ZodType<T>, request?: Request): Promise<T>;
};

export async function openApi(io: Io): Promise<Api> {
  const { url, admin_key } = await fleetAccess(io);
  return {
    async call(method, path, shape, { query = {}, body } = {}) {
      const address = new URL(`${url}${path}`);
      for (const [name, value] of Object.entries(query)) {
        if (value !== undefined) address.searchParams.set(name, value);
      }
      const { status, answer } = await send(url, address, {
        method,
        headers: {
          'X-Admin-Key': admin_key,
          ...(body !== undefined && { 'Content-Type': 'application/json' }),
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        redirect: 'error',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (status >= 400) throw refusal(url, status, answer);
      const parsed = shape.safeParse(answer);
      if (!parsed.success) throw unexpected(url, `${method} ${path} has another shape`);
      return parsed.data;
    },
  };
}

async function send(
  url: string,
  address: URL,
  init: RequestInit,
): Promise<{ status: number; answer: unknown }> {
  let text: string;
  let status: number;
  try {
    const response = await fetch(address, init);
    status = response.status;
    text = await response.text();
  } catch (cause) {
    throw new CommandFailure('UNREACHABLE', `Nobody answers at ${url}.`, {
      advice: 'Is the orchestrator up? ORCH_URL says where it is; `bap-engine doctor` looks closer.',
      cause,
    });
  }
  try {
    return { status, answer: JSON.parse(text) };
  } catch (cause) {
    throw unexpected(url, `HTTP ${status} and no JSON`, cause);
  }
}

function refusal(url: string, status: number, answer: unknown): CommandFailure {
  const parsed = OrchestratorErrorBody.safeParse(answer);
  if (!parsed.success) return unexpected(url, `HTTP ${status} without an error's body`);
  const { code, message, details } = parsed.data.error;
  return new CommandFailure(code, message, {
    details,
    advice: isErrorCode(code) ? ERRORS[code].advice : undefined,
  });
}

const unexpected = (url: string, what: string, cause?: unknown) =>
  new CommandFailure(
    'UNEXPECTED_ANSWER',
    `What answers at ${url} is no bap-engine of this version: ${what}.`,
    {
      advice: 'See ORCH_URL, and which versions run on both sides.',
      cause,
    },
  );
