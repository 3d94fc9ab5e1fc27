import type { IncomingHttpHeaders } from 'node:http';
import type { ReceivedRequest, StopReason, Usage } from './script.ts';

/** One provider's API: how it looks at a request, and how it says things. */
export type Wire = {
  name: ReceivedRequest['wire'];
  /** Matched against the whole path, query included. */
  path: RegExp;
  /** What this provider would refuse the request for, in its words; `undefined` when it is well formed. */
  refusal(body: Json, headers: IncomingHttpHeaders, path: string): string | undefined;
  /** HTTP error as this provider sends it. */
  error(failure: Failure): { status: number; headers: Record<string, string>; body: Json };
  /** A renderer for one answer. */
  answer(body: Json, path: string): Answer;
};

export type Json = Record<string, unknown>;

export type Failure =
  | { status: number; message?: string; retry_after_s?: number }
  /** The conversation does not fit the model's context. */
  | { context_overflow: true };

/** Renders one answer; every string is one write to the socket, in full SSE form. */
export type Answer = {
  begin(): string[];
  text(pieces: string[]): string[];
  thinking(pieces: string[]): string[];
  tool(call: { id: string; name: string; fragments: string[] }): string[];
  overloaded(): string[];
  finish(reason: StopReason, usage: Usage): string[];
};

export function sse(data: unknown, event?: string): string {
  const lines = `data: ${JSON.stringify(data)}\n\n`;
  return event === undefined ? lines : `event: ${event}\n${lines}`;
}

export function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The objects of a list; anything else counts as an empty list. */
export function objects(value: unknown): Json[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

/** The value of a JSON text; `undefined` when it is none. */
export function parseJson(text: unknown): unknown {
  try {
    return JSON.parse(String(text));
  } catch {
    return undefined;
  }
}
