import type { Engine } from './engine.ts';
import type { Received } from './stream.ts';

/** What a model does to ask the person. */
export const asks = (question: string) => ({ tool: 'ask_user', input: { question } });

export const isAsked = (event: Received) => event.type === 'hitl_request';

/** Posts to /hitl/respond. */
export const answer = (engine: Pick<Engine, 'fetch'>, body: Record<string, unknown>): Promise<Response> =>
  engine.fetch('/hitl/respond', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
