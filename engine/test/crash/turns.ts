import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import type { ModelServer, ReceivedRequest } from '@september/model-server';
import { expect } from 'vitest';
import { type Engine, startEngine } from '../support/engine.ts';
import { events, execute, type Received } from '../support/stream.ts';
import { LIGHT, type Move, messageOf, nextReply, type Plan, standOf } from './plan.ts';

/**
 * Turns that are killed with `kill -9` at a chosen COMMIT of the brain, and what must hold when the Engine is
 * started again. One folder, one brain, one turn after the other. Source: issue "The turn", E15.
 */
export type Point = { scenario: string; count: number; when: 'before' | 'after' };

/** Every turn appends lines to a file of its own; whatever happens, each must be there once. */
const append = (task: string, line: string) => ({
  tool: 'write_file',
  input: { path: `${task}.txt`, content: `${line}\n`, mode: 'append' },
});

const agent = (task: string, name: string, moves: Move[]) => ({
  tool: 'run_agent',
  input: { agent: 'assistant', message: messageOf({ name: `${task}/${name}`, moves }) },
});

const look = { tool: 'list_files', input: {} };
const ask = { tool: 'ask_user', input: { question: 'Which colour?' } };
const read = (offset: number) => ({ tool: 'read_file', input: { path: LONG_FILE, offset } });
const note = (key: string, value: string | null) => ({
  tool: 'working_memory_write',
  input: { key, value },
});
const words = (count: number) => Array.from({ length: count }, (_, n) => `word${n}`).join(' ');

/** What the model does, which lines are in the file at the end, and what the answer is where it goes by a schema. */
type Scenario = {
  moves: Move[];
  lines: string[];
  output?: { repairs: number; output: unknown };
  /** What the agent notes, in order. */
  notes?: string[];
  /** Calls that a hook has blocked. */
  blocked?: number;
  /** It outgrows the window. */
  condensed?: boolean;
};

/** Tokens; a few readings of the long file fill it. */
const WINDOW = 14_000;
const MAX_TOKENS = 2_000;
const LONG_FILE = 'long.txt';
const LONG_BYTES = 7_000;

/** What the hooks of the crash test's catalog react to: one line is not to be written, of one folder something is said. */
const BLOCKED = 'blocked line';
const REMARKED = 'remarked';
const whenItSays = (text: string) => [
  '/bin/sh',
  '-c',
  `grep -q '${text}' && { echo '${text}!' >&2; exit 2; }; exit 0`,
];
const HOOKS = {
  pre_tool: [{ match: 'write_file', command: whenItSays(BLOCKED) }],
  post_tool: [{ match: 'list_files', command: whenItSays(REMARKED) }],
};

const NUMBER = { type: 'object', properties: { n: { type: 'number' } }, required: ['n'] };

export const SCENARIOS: Record<string, (task: string) => Scenario> = {
  text: () => ({ moves: [{ say: words(60) }], lines: [] }),
  tools: (task) => ({
    moves: [
      { say: 'First these. ', tools: [append(task, 'a'), look, append(task, 'b'), look] },
      { tools: [append(task, 'c')] },
      { say: `Done. ${words(20)}` },
    ],
    lines: ['a', 'b', 'c'],
  }),
  person: (task) => ({
    moves: [{ say: 'I ask. ', tools: [ask, append(task, 'a')] }, { tools: [ask] }, { say: 'Thanks.' }],
    lines: ['a'],
  }),
  agents: (task) => ({
    moves: [
      {
        tools: [
          agent(task, 'one', [{ tools: [append(task, 'a'), look] }, { say: 'One is done.' }]),
          agent(task, 'two', [
            { say: 'Hm. ', tools: [ask] },
            { tools: [append(task, 'b')] },
            { say: 'Two.' },
          ]),
        ],
      },
      { say: 'Both are done.' },
    ],
    lines: ['a', 'b'],
  }),
  notes: (task) => ({
    moves: [
      { tools: [note('a', 'one'), append(task, 'a'), note('b', 'two')] },
      { say: 'On. ', tools: [note('a', 'three'), note('b', null), look] },
      { say: 'Noted.' },
    ],
    lines: ['a'],
    notes: ['a: one', 'b: two', 'a: three', 'b: null'],
  }),
  condensed: (task) => ({
    moves: [
      { tools: [note('goal', 'read it all'), read(0)] },
      { tools: [read(1), append(task, 'a')] },
      { tools: [read(2)] },
      { say: 'Half. ', tools: [read(3), append(task, 'b')] },
      { tools: [note('goal', 'nearly there'), read(4)] },
      { tools: [read(5)] },
      { say: 'Read.' },
    ],
    lines: ['a', 'b'],
    notes: ['goal: read it all', 'goal: nearly there'],
    condensed: true,
  }),
  hooked: (task) => ({
    moves: [
      {
        tools: [append(task, 'a'), append(task, BLOCKED), { tool: 'list_files', input: { path: REMARKED } }],
      },
      { say: 'So be it. ', tools: [append(task, BLOCKED), append(task, 'b')] },
      { say: 'Done.' },
    ],
    lines: ['a', 'b'],
    blocked: 2,
  }),
  failing_agent: (task) => ({
    moves: [
      { tools: [agent(task, 'one', [{ tools: [append(task, 'a')] }, { refused: 401 }]), append(task, 'b')] },
      { say: 'It has failed.' },
    ],
    lines: ['a', 'b'],
  }),
  repaired: (task) => ({
    moves: [
      { tools: [append(task, 'a')] },
      { say: 'Seven. ' },
      { say: '{"n":"7"}', tools: [append(task, 'b')] },
      { say: '{"n":"7"}' },
      { say: ' {"n":7}' },
    ],
    lines: ['a', 'b'],
    output: { repairs: 2, output: { n: 7 } },
  }),
  continued: (task) => ({
    moves: [
      { say: `${words(10)} `, cut: true },
      { say: words(10), tools: [append(task, 'a')] },
      { tools: [agent(task, 'one', [{ say: 'Half ', cut: true }, { say: 'and half.' }])] },
      { say: '{"n":', cut: true },
      { say: '7', cut: true },
      { say: '}' },
    ],
    lines: ['a'],
    output: { repairs: 0, output: { n: 7 } },
  }),
};

export function crashBench(folder: string, model: ModelServer) {
  const kill_at = join(folder, 'kill_at');
  const workspace = join(folder, 'workspace');
  mkdirSync(workspace, { recursive: true });
  writeFileSync(join(workspace, LONG_FILE), 'x'.repeat(LONG_BYTES));
  const catalog = smallCatalog(folder);
  model.answer(nextReply);
  let engine: Engine | undefined;
  let turns = 0;

  const start = async () => {
    engine = await startEngine(
      folder,
      {
        LLM_PROVIDER: 'anthropic',
        LLM_BASE_URL: `${model.url}/v1`,
        LLM_MODEL: 'claude-sonnet-4-5',
        LIGHT_MODEL: LIGHT,
        MAX_TOKENS: String(MAX_TOKENS),
        CATALOG_DIR: catalog,
        TOKEN_BUDGET_ENABLED: 'true',
        KILL_AT_FILE: kill_at,
      },
      'Ready',
      [process.execPath, '--import', join(import.meta.dirname, 'kill_at.ts')],
    );
    return engine;
  };

  /** @returns whether the fault has landed: a turn may be over before it. */
  async function run(point: Point): Promise<boolean> {
    const task = `${point.scenario}-${++turns}`;
    const { moves, ...expected } = scenarioOf(point)(task);
    const { output } = expected;
    const plan: Plan = { name: task, moves };
    const schema = output === undefined ? {} : { output_schema: NUMBER };
    const body = { task_id: task, message: messageOf(plan), ...schema };
    const received: Received[] = [];
    const asked_before = model.requests.length;
    engine ??= await start();

    writeFileSync(kill_at, JSON.stringify({ count: point.count, when: point.when }));
    await follow(engine, body, received);
    const landed = existsSync(`${kill_at}.fired`);
    rmSync(kill_at, { force: true });
    if (landed) {
      expect(await engine.stop()).toBe('SIGKILL');
      rmSync(`${kill_at}.fired`);
      engine = await start();
      await follow(engine, body, received);
    }
    await judge(engine, { task, plan, received, asked_before, ...expected });
    // What was armed and did not fire would hit the next turn.
    if (!landed) await stop();
    return landed;
  }

  async function stop(): Promise<void> {
    await engine?.stop('SIGKILL');
    engine = undefined;
  }

  /** A client: takes the turn up after what it has, answers what it is asked, to the end or until it is cut. */
  async function follow(engine: Engine, body: { task_id: string }, received: Received[]): Promise<void> {
    const last = received.at(-1);
    const headers: Record<string, string> = last === undefined ? {} : { 'Last-Event-ID': String(last.id) };
    // An answer may be cut before anybody waits for it: what became of each is looked at in the end.
    const answers: Promise<unknown>[] = [];
    const answer = (request: Record<string, unknown>) =>
      answers.push(respond(engine, request).catch((error: unknown) => error));
    try {
      for (const request of await pending(engine, body.task_id)) answer(request);
      for await (const event of events(await execute(engine, body, { headers }))) {
        if (event.type === 'heartbeat') continue;
        received.push(event);
        if (event.type === 'hitl_request') answer(event.data);
      }
    } catch (error) {
      // Cut by the kill; anything else is looked into by the caller, which finds the turn unfinished.
      if (!isCut(error)) throw error;
    }
    for (const failed of await Promise.all(answers)) {
      if (failed !== undefined && !isCut(failed)) throw failed;
    }
  }

  async function pending(engine: Engine, task_id: string) {
    const { pending } = await engine.json('/hitl/pending');
    return pending.filter((request: { task_id: string }) => request.task_id === task_id);
  }

  /** The person: looks whether it has happened before allowing it again. */
  async function respond(engine: Engine, request: Record<string, unknown>): Promise<void> {
    const { task_id, request_id, kind } = request;
    const { path, content } = (request.input ?? {}) as { path?: string; content?: string };
    const happened = linesOf(String(path)).includes(String(content).trim());
    const answer = kind === 'question' ? 'blue' : happened ? 'no' : 'yes';
    const reply = await engine.fetch('/hitl/respond', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ task_id, request_id, answer }),
    });
    // The same request is seen in the stream and in what is pending; the second answer comes too late.
    expect([200, 404]).toContain(reply.status);
    await reply.body?.cancel();
  }

  const linesOf = (file: string) =>
    existsSync(join(workspace, file))
      ? readFileSync(join(workspace, file), 'utf8').split('\n').slice(0, -1)
      : [];

  async function judge(
    engine: Engine,
    turn: { task: string; plan: Plan; received: Received[]; asked_before: number } & Omit<Scenario, 'moves'>,
  ): Promise<void> {
    const { task, plan, lines, output, received, asked_before } = turn;
    const { notes = [], blocked = 0, condensed = false } = turn;
    expect(received.at(-1)?.data, 'the turn completes').toMatchObject({ phase: 'completed' });
    const ids = received.map((event) => event.id);
    expect(ids, 'ids grow').toEqual([...new Set(ids)].sort((a, b) => a - b));
    const replayed: Received[] = [];
    const replay = await engine.fetch(`/execute/replay?after=0&task_id=${task}`);
    for await (const event of events(replay)) replayed.push(event);
    expect(received, 'what the client has is what happened').toEqual(replayed);
    expect(linesOf(`${task}.txt`).sort(), 'each line was written once').toEqual(lines);

    const structured = received.filter((event) => event.type === 'structured_output');
    expect(
      structured.map(({ data: { output, repairs } }) => ({ output, repairs })),
      'the output by schema comes once, after as many repairs as it took',
    ).toEqual(output === undefined ? [] : [output]);

    const noted = received.filter((event) => event.type === 'working_memory_update');
    expect(
      noted.map(({ data: { key, value } }) => `${key}: ${value ?? null}`),
      'each note is told once',
    ).toEqual(notes);
    const results = received.filter((event) => event.type === 'tool_result');
    expect(
      results.filter(({ data }) => data.error === 'blocked_by_hook'),
      'what a hook blocks is not run',
    ).toHaveLength(blocked);
    expect(
      results.filter(({ data }) => data.error === 'execution_failed'),
      'no call breaks for being run again',
    ).toEqual([]);
    const condensings = received.filter((event) => event.type === 'compaction_event').length;
    expect(condensings > 0, 'it outgrew the window').toBe(condensed);

    const threads = Map.groupBy(received, (event) => event.data.parent_tool_call_id);
    for (const thread of threads.values()) {
      expect(idsOf(thread, 'tool_result'), 'results in the order of the calls').toEqual(
        idsOf(thread, 'tool_call'),
      );
    }
    const own = threads.get(undefined) ?? [];
    expect(keptText(own), 'what is not discarded is what was said').toBe(
      plan.moves.map(({ say = '' }) => say).join(''),
    );

    const brain = new DatabaseSync(join(folder, 'brain.sqlite'), { readOnly: true });
    try {
      const [calls] = brain
        .prepare('SELECT count(*) AS calls FROM model_calls JOIN turns USING (turn_id) WHERE task_id = ?')
        .all(task);
      const asked = model.requests.slice(asked_before);
      expect(asked.length, 'the journal explains every model call').toBeLessThanOrEqual(Number(calls?.calls));
      expectContinuous(asked);
      const countIn = (table: string) =>
        brain.prepare(`SELECT count(*) AS rows FROM ${table} WHERE task_id = ?`).get(task)?.rows;
      expect(countIn('compactions'), 'a compaction is told if, and only if, it was made').toBe(condensings);
      expect(countIn('working_memory_log'), 'a note is told if, and only if, it is kept').toBe(noted.length);
      const [open] = brain
        .prepare(
          "SELECT count(*) AS open FROM tool_calls WHERE state NOT IN ('done', 'unknown') OR shown = 0",
        )
        .all();
      expect(open?.open, 'every tool call has one outcome').toBe(0);
    } finally {
      brain.close();
    }
  }

  return { run, stop };
}

/** What a conversation has sent is sent again, to the byte, and only extended; but for the compactions. */
function expectContinuous(asked: ReceivedRequest[]): void {
  const before = new Map<string, string[]>();
  for (const request of asked) {
    if (request.body.model === LIGHT) {
      before.clear();
      continue;
    }
    const { name } = standOf(request).plan;
    const sent = (request.body.messages as unknown[]).map((message) =>
      JSON.stringify(message, (key, value) => (key === 'cache_control' ? undefined : value)),
    );
    const earlier = before.get(name) ?? [];
    expect(sent.slice(0, earlier.length), 'the prefix stays').toEqual(earlier);
    before.set(name, sent);
  }
}

/** The stock catalog with a small window for every model, and hooks. */
function smallCatalog(folder: string): string {
  const catalog = join(folder, 'catalog');
  cpSync(fileURLToPath(new URL('../../../catalog', import.meta.url)), catalog, { recursive: true });
  const file = join(catalog, 'models.json');
  const table = JSON.parse(readFileSync(file, 'utf8'));
  for (const row of table.models) row.context_window = WINDOW;
  writeFileSync(file, JSON.stringify(table));
  writeFileSync(join(catalog, 'hooks.json'), JSON.stringify(HOOKS));
  return catalog;
}

function scenarioOf({ scenario }: Point) {
  const found = SCENARIOS[scenario];
  if (found === undefined) throw new Error(`There is no scenario ${scenario}`);
  return found;
}

const idsOf = (thread: Received[], type: string) =>
  thread.filter((event) => event.type === type).map((event) => event.data.tool_call_id);

/** The text of a thread's blocks without those that were declared void; every block must have been closed. */
function keptText(thread: Received[]): string {
  const blocks = new Map<unknown, string>();
  let current: unknown;
  for (const { type, data } of thread) {
    if (type === 'content_block_start') {
      expect(blocks.has(data.block_index), 'a block begins once').toBe(false);
      current = data.block_index;
      blocks.set(current, '');
    } else if (type === 'text_delta') {
      blocks.set(current, `${blocks.get(current)}${data.text}`);
    } else if (type === 'content_block_stop') {
      expect(blocks.has(data.block_index), 'only what began ends').toBe(true);
      if (data.discarded) blocks.set(data.block_index, '');
    }
  }
  return [...blocks.values()].join('');
}

const isCut = (error: unknown): boolean => error instanceof TypeError;
