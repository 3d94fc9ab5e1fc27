/** A product's view of a whole orchestrator and of its real engines. */
import { createParser } from 'eventsource-parser';
import type { OwnOrchestrator } from '../../scripts/own_orchestrator.ts';

export type Engine = {
  engine_id: string;
  url: string;
  api_key: string;
  status: string;
  sleep_depth?: string;
};
export type Admission = { admitted: boolean; engine: Engine };

/** Registers a product; gives the way to call as it. */
export async function registerProduct(orchestrator: OwnOrchestrator, slug: string) {
  async function call<Answer>(
    method: string,
    path: string,
    headers: Record<string, string>,
    body?: object,
  ): Promise<Answer> {
    const response = await fetch(`${orchestrator.url}${path}`, {
      method,
      headers: { 'Content-Type': 'application/json', ...headers },
      body: body && JSON.stringify(body),
    });
    return (await response.json()) as Answer;
  }
  const registered = await call<{ platform_api_key: string }>(
    'POST',
    '/products/register',
    { 'X-Admin-Key': orchestrator.adminKey },
    { slug, display_name: slug },
  );
  return <Answer>(method: string, path: string, body?: object) =>
    call<Answer>(method, path, { 'X-Platform-Key': registered.platform_api_key }, body);
}

export const execute = (engine: Engine, message: string) =>
  fetch(`${engine.url}/execute`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Engine-Key': engine.api_key },
    body: JSON.stringify({ message, task_id: 'one-conversation' }),
  });

/** Sends a message; gives the text of the answer when the turn has ended. */
export async function say(engine: Engine, message: string): Promise<string> {
  const texts: string[] = [];
  const parser = createParser({ onEvent: ({ data }) => texts.push(JSON.parse(data).text ?? '') });
  parser.feed(await (await execute(engine, message)).text());
  return texts.join('');
}
