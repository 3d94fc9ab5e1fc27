import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Call, TestOrchestrator } from './orchestrator.ts';

export const users = (count: number) => Array.from({ length: count }, (_, n) => `user-${n}`);

/** Gives each of these users an engine whose brain holds words of its own. */
export async function provisionAll(o: TestOrchestrator, call: Call, all: readonly string[]): Promise<void> {
  for (const user of all) {
    const { status, body } = await call('POST', '/engines/provision', { body: { user_id: user } });
    expect(status, JSON.stringify(body)).toBe(200);
    await writeFile(brainOf(o, body.engine_id), `what ${user} said;`);
  }
}

export const brainOf = (o: TestOrchestrator, engine_id: string) =>
  join(o.config.data_dir, 'engines', engine_id, 'brain.sqlite');

/** What a user's engine answers of itself: the image it was started as, and what its brain holds. */
export async function askEngine(call: Call, user: string): Promise<{ image: string; brain: string }> {
  const { body: engine } = await call('GET', `/engines/${user}`);
  const answer = await fetch(`${engine.url}/`, { headers: { 'X-Engine-Key': engine.api_key } });
  const { image, brain } = (await answer.json()) as { image: string; brain: string };
  return { image, brain };
}

export const readBrain = (o: TestOrchestrator, engine_id: string) => readFile(brainOf(o, engine_id), 'utf8');
