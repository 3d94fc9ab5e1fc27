import { EngineErrorBody } from '@september/contract';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { expect } from 'vitest';
import { StreamedEvent } from '../../src/turn/events.ts';
import type { Engine } from './engine.ts';

/** An event as it came: `data` parsed and checked against the documented schema. */
export type Received = { id: number; type: string; data: Record<string, unknown> };

/** Posts to /execute. */
export function execute(
  engine: Pick<Engine, 'fetch'>,
  body: Record<string, unknown>,
  init: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<Response> {
  return engine.fetch('/execute', {
    method: 'POST',
    body: JSON.stringify(body),
    signal: init.signal ?? null,
    headers: { 'Content-Type': 'application/json', ...init.headers },
  });
}

/** The events of a stream as they come. */
export async function* events(response: Response): AsyncGenerator<Received> {
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toContain('text/event-stream');
  if (response.body === null) throw new Error('The answer has no body');
  const parsed = response.body
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .pipeThrough(new EventSourceParserStream());
  for await (const { id, event, data } of parsed) {
    const json = StreamedEvent.parse(JSON.parse(data));
    expect(json.type).toBe(event);
    yield { id: Number(id), type: json.type, data: json };
  }
}

/** The code of an error answer, which must have the documented shape. */
export async function errorOf(answer: Response): Promise<string> {
  return EngineErrorBody.parse(await answer.json()).error;
}

/** All events to the end of the stream. */
export async function all(response: Response | Promise<Response>): Promise<Received[]> {
  return rest(events(await response));
}

/** What is left of a stream, to its end. */
export async function rest(stream: AsyncGenerator<Received>): Promise<Received[]> {
  const received: Received[] = [];
  for await (const event of stream) received.push(event);
  return received;
}

/** A whole turn: sends a message and reads to the end. */
export function turn(engine: Pick<Engine, 'fetch'>, task_id: string, message: string): Promise<Received[]> {
  return all(execute(engine, { task_id, message }));
}

/** The first event that `matches`, without reading on. The stream stays open. */
export async function until(
  stream: AsyncGenerator<Received>,
  matches: (event: Received) => boolean,
): Promise<Received[]> {
  const seen: Received[] = [];
  for (;;) {
    const { value, done } = await stream.next();
    if (done) throw new Error(`The stream ended after ${seen.map((event) => event.type).join(' ')}`);
    seen.push(value);
    if (matches(value)) return seen;
  }
}

/** What the model said, all deltas in one. */
export function textOf(received: Received[]): string {
  return received
    .filter((event) => event.type === 'text_delta')
    .map((event) => event.data.text)
    .join('');
}

/** Event types, runs of the same delta as one, lifecycle with its phase. */
export function outline(received: Received[]): string[] {
  const names = received.map((event) =>
    event.type === 'thread_lifecycle' ? `thread_lifecycle ${event.data.phase}` : event.type,
  );
  return names.filter((name, index) => !name.endsWith('_delta') || names[index - 1] !== name);
}
