/** Two users, two engines: nothing of one is within reach of the other. The whole system, real processes. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createParser } from 'eventsource-parser';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OwnOrchestrator, startOwnOrchestrator } from '../scripts/own_orchestrator.ts';

type Engine = { engine_id: string; url: string; api_key: string };
type Event = { type: string; text?: string; tool?: string; output?: unknown; error?: string };

let orchestrator: OwnOrchestrator;
let ada: Engine;
let bob: Engine;

beforeAll(async () => {
  orchestrator = await startOwnOrchestrator();
  const { platform_api_key } = await post(`${orchestrator.url}/products/register`, {
    headers: { 'X-Admin-Key': orchestrator.adminKey },
    body: { slug: 'isolation', display_name: 'Isolation' },
  });
  const admit = async (user: string) =>
    (
      await post(`${orchestrator.url}/engines/${user}/admit`, {
        headers: { 'X-Platform-Key': platform_api_key },
        body: { auto_provision: true },
      })
    ).engine;
  [ada, bob] = await Promise.all([admit('ada'), admit('bob')]);
}, 120_000);

afterAll(() => orchestrator?.stop(), 30_000);

async function post(
  url: string,
  request: { headers: Record<string, string>; body: object },
): Promise<{ platform_api_key: string; engine: Engine }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...request.headers },
    body: JSON.stringify(request.body),
  });
  return (await response.json()) as { platform_api_key: string; engine: Engine };
}

const execute = (engine: Engine, api_key: string, message: string, task_id: string) =>
  fetch(`${engine.url}/execute`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Engine-Key': api_key },
    body: JSON.stringify({ message, task_id }),
  });

async function say(engine: Engine, message: string, task_id: string): Promise<Event[]> {
  const response = await execute(engine, engine.api_key, message, task_id);
  expect(response.status).toBe(200);
  const events: Event[] = [];
  const parser = createParser({ onEvent: ({ data }) => events.push(JSON.parse(data)) });
  parser.feed(await response.text());
  return events;
}

const textOf = (events: Event[]) => events.map((event) => event.text ?? '').join('');

describe('two engines for two users', () => {
  it('are two processes with two addresses and two keys', () => {
    expect(ada.engine_id).not.toBe(bob.engine_id);
    expect(ada.url).not.toBe(bob.url);
    expect(ada.api_key).not.toBe(bob.api_key);
  });

  it("neither's key opens the other's", async () => {
    for (const [engine, key] of [
      [ada, bob.api_key],
      [bob, ada.api_key],
    ] as const) {
      const response = await execute(engine, key, 'Say hello.', 'break-in');
      expect(response.status).toBe(401);
      expect(await response.json()).toMatchObject({ error: 'INVALID_KEY' });
    }
  });

  it("neither sees the other's history, also under the same task id", async () => {
    await say(ada, 'My name is Ada.', 'shared-name');
    expect(textOf(await say(ada, 'What is my name?', 'shared-name'))).toContain('Ada');
    expect(textOf(await say(bob, 'What is my name?', 'shared-name'))).not.toContain('Ada');
  });

  it("neither reads the other's files", async () => {
    const folder = (engine: Engine) => join(orchestrator.folder, 'engines', engine.engine_id);
    const secret = join(folder(ada), 'workspace', 'diary.txt');
    await writeFile(secret, 'dear diary');

    const own = await say(ada, 'Read the file diary.txt', 'files');
    expect(JSON.stringify(own.find((event) => event.type === 'tool_result'))).toContain('dear diary');

    const paths = [secret, `../../${ada.engine_id}/workspace/diary.txt`, join(folder(ada), 'brain.sqlite')];
    for (const path of paths) {
      const events = await say(bob, `Read the file ${path}`, 'files');
      const result = events.find((event) => event.type === 'tool_result');
      expect(result, path).toMatchObject({ tool: 'read_file', error: expect.any(String) });
      expect(JSON.stringify(events)).not.toContain('dear diary');
    }
  });
});
