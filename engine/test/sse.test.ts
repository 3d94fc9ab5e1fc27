import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Brain, openBrain } from '../src/brain/brain.ts';
import { loadCatalog } from '../src/catalog/catalog.ts';
import { parseConfig } from '../src/config.ts';
import { createHerald, type Herald } from '../src/herald/index.ts';
import { createApp } from '../src/http/app.ts';
import { listen, type Server } from '../src/http/server.ts';
import { randomId } from '../src/ids.ts';
import { createLog } from '../src/observe/log.ts';
import { createToolRunner } from '../src/tools/runner.ts';
import { createContexts } from '../src/turn/context.ts';
import { createCoordinator } from '../src/turn/coordinator.ts';
import { createGuards } from '../src/turn/guards.ts';
import { soulOnly } from '../src/turn/recall.ts';
import { MODELS } from './herald/support.ts';
import { catalogOf } from './support/catalog.ts';
import { environment, KEY, temporaryFolder } from './support/engine.ts';
import { NO_SECRETS } from './support/secrets.ts';
import { all, events, execute, rest, textOf, until } from './support/stream.ts';

/**
 * What takes minutes in a real Engine, with short times: the same parts, wired as main.ts does, but for a
 * model whose answer the test holds in its hands.
 */
let brain: Brain;
let server: Server;
let pieces: AsyncGenerator<string>;
/** How far the clock of the Engine is ahead, milliseconds. */
let ahead = 0;
const now = () => Date.now() + ahead;
const REPLAY_TTL_MS = 1_000_000;
const NO_SANDBOX = { mode: 'none' as const, layers: {}, checked_at: null };
const engine = {
  fetch: (path: string, init?: RequestInit) =>
    fetch(server.url + path, { ...init, headers: { 'X-Engine-Key': KEY, ...init?.headers } }),
};

const herald: Herald = {
  ...createHerald({
    provider: 'demo',
    model: 'test',
    api_keys: {},
    models: MODELS,
    log: createLog('ERROR', NO_SECRETS.shown),
  }),
  state: () => 'ok',
  async *complete() {
    yield { type: 'block_start', index: 0, block_type: 'text' };
    let text = '';
    for await (const piece of pieces) {
      text += piece;
      yield { type: 'text', index: 0, text: piece };
    }
    yield { type: 'block_stop', index: 0, block: { type: 'text', text } };
    const usage = { input_tokens: 1, output_tokens: 1, cache_hit_tokens: 0 };
    yield { type: 'finish', stop_reason: 'end_turn', usage, model: 'test', provider: 'demo', cost_usd: 0 };
  },
};

beforeAll(async () => {
  const folder = temporaryFolder();
  const config = parseConfig(environment(folder), folder);
  const log = createLog('ERROR', NO_SECRETS.shown);
  brain = await openBrain({
    path: join(folder, 'brain.sqlite'),
    migrations_dir: config.migrations_dir,
    epoch: undefined,
    key_hash: config.key.hash,
    key_overlap: { min_s: 0, max_s: 300 },
    replay_ttl_ms: REPLAY_TTL_MS,
    now,
    onError: () => {},
  });
  const catalog = await loadCatalog(catalogOf({ assistant: [] }).CATALOG_DIR, {
    tools: [],
    default_agent: 'assistant',
    hooks: true,
  });
  const coordinator = createCoordinator({
    brain,
    catalog,
    herald,
    contexts: createContexts({
      brain,
      memory: soulOnly(catalog.soul),
      tools: [],
      window: () => 100_000,
      max_tokens: 100,
      compact: false,
      light_model: 'light',
      now,
      ask: async () => undefined,
    }),
    guards: createGuards({ ...config, max_tokens: undefined, max_cost_usd: undefined }),
    tools: createToolRunner([], { log }),
    hooks: {
      beforeTool: async () => undefined,
      afterTool: async () => undefined,
      watches_stop: false,
      atStop: async () => undefined,
    },
    permissions: { judge: async () => [] },
    endTurn() {},
    hitl_ttl_ms: 1_000_000,
    secrets: NO_SECRETS,
    now,
    newId: randomId,
    log,
    limits: { ...config, max_tokens: 100, replay_ttl_ms: REPLAY_TTL_MS },
  });
  const app = createApp({
    brain,
    herald,
    coordinator,
    sandbox: { state: () => NO_SANDBOX, check: async () => NO_SANDBOX, forgetTask() {} },
    takeMedia: async () => ({ blocks: [], documents: [] }),
    log,
    secrets: NO_SECRETS.shown,
    now,
    newId: randomId,
    uptime: () => 1,
    heartbeat_ms: 40,
    // The other readers live in this process too, and must not look stalled where the machine is slow.
    stalled_ms: 2_000,
  });
  server = await listen({ host: '127.0.0.1', port: 0 }, app.fetch);
});

afterAll(async () => {
  await server.close();
  brain.close();
});

describe('silence', () => {
  it('is broken by heartbeats that carry the id of the last event and are not replayed', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    pieces = (async function* () {
      yield 'a';
      await promise;
      yield 'b';
    })();
    const stream = events(await execute(engine, { task_id: 'quiet', message: 'Hm?' }));
    // Where the machine is slow there may be silence before the word, too.
    const word = await until(stream, (event) => event.type === 'text_delta');
    const beats = await until(stream, (event) => event.type === 'heartbeat');
    const seen = [...word, ...beats];
    const [last, beat] = seen.slice(-2);
    expect(last?.data.text).toBe('a');
    expect(beat?.id).toBe(last?.id);
    expect(beat?.data).toMatchObject({ task_id: 'quiet', turn_id: last?.data.turn_id });

    const everything = events(await engine.fetch('/execute/replay?after=0&follow=true'));
    const overAll = await until(everything, (event) => event.type === 'heartbeat');
    expect(overAll.at(-1)?.data).toMatchObject({ task_id: null, turn_id: null });
    resolve();
    expect(textOf([...seen, ...(await rest(stream))])).toBe('ab');
    await rest(everything);
    const replayed = await all(engine.fetch('/execute/replay?after=0&task_id=quiet'));
    expect(replayed.filter((event) => event.type === 'heartbeat')).toEqual([]);
  });
});

describe('a client that takes nothing', () => {
  it('holds nothing up, is cut after a while, and finds everything again', async () => {
    const piece = 'x'.repeat(50_000);
    const count = 400;
    pieces = (async function* () {
      for (let index = 0; index < count; index++) {
        yield piece;
        await new Promise(setImmediate);
      }
    })();
    const body = JSON.stringify({ task_id: 'stuck', message: 'Pour.' });
    const address = new URL(server.url);
    const socket = connect(Number(address.port), address.hostname);
    socket.on('error', () => {});
    socket.pause();
    socket.write(
      `POST /execute HTTP/1.1\r\nHost: x\r\nX-Engine-Key: ${KEY}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    // The turn ends although nobody takes its 20 MB.
    const ended = async () => {
      const events = await all(engine.fetch('/execute/replay?task_id=stuck&after=0&follow=true'));
      return events.at(-1)?.data.phase;
    };
    await expect.poll(() => brain.conversations.exists('stuck')).toBe(true);
    expect(await ended()).toBe('completed');

    await expect
      .poll(async () => (await (await engine.fetch('/activity')).json()) as unknown, { timeout: 10_000 })
      .toMatchObject({ open_streams: 0 });
    const closed = once(socket, 'close');
    socket.resume();
    await closed;
    const replayed = await all(engine.fetch('/execute/replay?after=0&task_id=stuck'));
    expect(textOf(replayed).length).toBe(piece.length * count);
  });
});

describe('what is no longer kept', () => {
  const say = async (task_id: string, word: string) => {
    pieces = (async function* () {
      yield word;
    })();
    return all(execute(engine, { task_id, message: 'Say.' }));
  };
  const replay = (query: string, last?: number) =>
    all(
      engine.fetch(
        `/execute/replay?${query}`,
        last === undefined ? {} : { headers: { 'Last-Event-ID': String(last) } },
      ),
    );

  it('is told as a gap to whoever asks for it, by id or by time, and never left out in silence', async () => {
    const asked_at = now();
    const first = await say('gap / one', 'Old.');
    ahead += REPLAY_TTL_MS + 60_000;
    const second = await say('gap / one', 'New.');
    brain.events.prune();
    const gone = first.at(-1)?.id ?? 0;
    const told = (from: number) => ({
      id: from - 1,
      type: 'gap',
      data: expect.objectContaining({
        task_id: 'gap / one',
        from,
        to: gone,
        pointer: 'GET /tasks/gap%20%2F%20one',
      }),
    });

    const cursor = first[1]?.id ?? 0;
    expect(await replay('task_id=gap / one', cursor)).toEqual([told(cursor + 1), ...second]);
    const headers = { 'Last-Event-ID': String(cursor) };
    const attached = execute(engine, { task_id: 'gap / one', message: 'Say.' }, { headers });
    expect(await all(attached)).toEqual([told(cursor + 1), ...second]);
    expect(await replay(`task_id=gap / one&after=${asked_at}`)).toEqual([told(gone), ...second]);
    const [of_all, ...rest_of_all] = await replay('', cursor);
    expect(of_all).toMatchObject({
      type: 'gap',
      data: { from: cursor + 1, to: gone, pointer: 'GET /tasks' },
    });
    expect(rest_of_all).toEqual(second);

    // Who has the last of it, asks from a later time, or for what there is, misses nothing.
    for (const nothing of [
      replay('', gone),
      replay('task_id=gap / one', gone),
      replay('after=0&task_id=gap / one'),
    ])
      expect(await nothing).toEqual(second);
    expect(await replay(`after=${Date.parse(String(first.at(-1)?.data.timestamp))}`)).toEqual(second);
  });
});
