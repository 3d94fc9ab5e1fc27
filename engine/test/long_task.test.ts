import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import {
  type ModelServer,
  type ReceivedRequest,
  type Reply,
  startModelServer,
} from '@september/model-server';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { type Received, turn } from './support/stream.ts';

/**
 * One task of many turns on a small window. A hundred turns in `npm test`; all five hundred by
 * `LONG_TASK_TURNS=500 vitest run engine/test/long_task.test.ts`.
 */
const TURNS = Number(process.env.LONG_TASK_TURNS ?? 100);
const WINDOW = 32_000;
const MAX_TOKENS = 4_096;

/** What this provider counts: English prose, more or less. */
const tokensOf = (value: unknown) => Math.ceil(Buffer.byteLength(JSON.stringify(value)) / 3.6);

let folder: string;
let model: ModelServer;
let engine: Engine;

beforeAll(async () => {
  folder = temporaryFolder();
  const catalog = join(folder, 'catalog');
  cpSync(fileURLToPath(new URL('../../catalog', import.meta.url)), catalog, { recursive: true });
  const models = JSON.parse(readFileSync(join(catalog, 'models.json'), 'utf8'));
  for (const row of models.models) if (row.models.includes('*')) row.context_window = WINDOW;
  writeFileSync(join(catalog, 'models.json'), JSON.stringify(models));

  model = await startModelServer();
  model.answer(answer);
  engine = await startEngine(folder, {
    LLM_PROVIDER: 'openai',
    LLM_BASE_URL: `${model.url}/v1`,
    LLM_MODEL: 'small',
    LIGHT_MODEL: 'light',
    MAX_TOKENS: String(MAX_TOKENS),
    CATALOG_DIR: catalog,
  });
});

afterAll(async () => {
  await engine.stop();
  await model.close();
});

const words = (count: number, seed: number) =>
  Array.from({ length: count }, (_, index) => `word${(index * 31 + seed * 17) % 997}`).join(' ');
const rule = (index: number) => `RULE ${index}: never touch “folder ${index}/ä”.`;

type Sent = { role: string; content?: unknown };
const messagesOf = (request: ReceivedRequest) => request.body.messages as Sent[];

/** Every fifth turn looks into a few folders, and notes something, before it answers. */
function answer(request: ReceivedRequest): Reply {
  const messages = messagesOf(request);
  const input_tokens = tokensOf([request.body.tools, messages]);
  if (input_tokens > WINDOW - MAX_TOKENS) return { context_overflow: true };
  const usage = { input_tokens };
  if (request.body.model === 'light') {
    const read = String(JSON.stringify(messages.at(-1)?.content));
    const said = [...read.matchAll(/<message n=\\"(\d+)\\" from=\\"person\\">(.*?)<\/message>/g)];
    const entries = said.map(([, n, text]) => ({ n: Number(n), keep: text?.match(/RULE [^.]*\./g) ?? [] }));
    return { steps: [{ text: JSON.stringify({ messages: entries, summary: 'They talked.' }) }], usage };
  }
  const since = messages.length - 1 - messages.findLastIndex((message) => message.role === 'user');
  const rounds = messages.filter((message) => message.role === 'user').length % 5 === 0 ? 3 : 0;
  if (since / 2 < rounds) {
    const note = { key: 'progress', value: `looked ${messages.length} times` };
    const look = { tool: 'list_files', input: { path: `./${'./'.repeat(since)}` } };
    return { steps: [look, { tool: 'working_memory_write', input: note }], usage };
  }
  return { steps: [{ text: words(90, messages.length) }], usage };
}

/** Bytes of a request, and how many of them the next one begins with. */
const bytesOf = ({ body }: ReceivedRequest) =>
  Buffer.from(JSON.stringify([body.tools, ...(body.messages as Sent[])]).slice(0, -1));
function common(before: Buffer, after: Buffer): number {
  let index = 0;
  while (index < before.length && before[index] === after[index]) index++;
  return index;
}

it(`goes on for ${TURNS} turns; what binds stays, and so does the prefix`, async () => {
  const received: Received[] = [];
  for (let index = 0; index < TURNS; index++) {
    const said = index % 10 === 0 ? rule(index) : '';
    const events = await turn(engine, 'long', `${index}: ${words(50, index)} ${said}`);
    expect(events.at(-1)?.data).toMatchObject({ phase: 'completed' });
    received.push(...events);
  }
  const compactions = received.filter((event) => event.type === 'compaction_event');
  expect(compactions.length).toBeGreaterThan(0);

  const main = model.requests.filter((request) => request.body.model === 'small');
  // This provider has no cache, and the Engine notices.
  const alerts = received.filter((event) => event.type === 'cache_hit_ratio_alert');
  expect(alerts).toHaveLength(Math.floor(main.length / 50));
  expect(alerts[0]?.data).toMatchObject({ ratio: 0, threshold: 0.6 });

  const last = JSON.stringify(messagesOf(main[main.length - 1] as ReceivedRequest));
  expect(last).toContain('<working_memory>');
  for (let index = 0; index < TURNS; index += 10)
    expect(last).toContain(JSON.stringify(rule(index)).slice(1, -1));

  let same = 0;
  let all = 0;
  let broken = 0;
  for (const [index, request] of main.entries()) {
    const before = main[index - 1];
    if (before === undefined) continue;
    const bytes = bytesOf(before);
    const kept = common(bytes, bytesOf(request));
    same += kept;
    all += bytes.length;
    if (kept < bytes.length) broken++;
    const isCondensed = model.requests[model.requests.indexOf(request) - 1]?.body.model === 'light';
    // In a tool loop or from turn to turn: nothing but a compaction begins a new prefix.
    if (!isCondensed) expect(kept).toBe(bytes.length);
  }
  expect(broken).toBe(compactions.length);
  expect(same / all).toBeGreaterThan(0.97);
  console.log(
    `${TURNS} turns, ${main.length} calls, ${compactions.length} compactions: ${((same / all) * 100).toFixed(2)} % of the bytes were sent before`,
  );

  const brain = new DatabaseSync(join(folder, 'brain.sqlite'), { readOnly: true });
  const stored = brain.prepare("SELECT count(*) AS count FROM messages WHERE instr(content, 'word')").get();
  expect(stored?.count).toBe(TURNS * 2);
  brain.close();
}, 600_000);
