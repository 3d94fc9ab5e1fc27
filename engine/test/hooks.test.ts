import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadHooks } from '../src/catalog/hooks.ts';
import { catalogOf } from './support/catalog.ts';
import { type Engine, refusedStart, startEngine, temporaryFolder } from './support/engine.ts';
import { processesWith, runnable } from './support/sandbox.ts';
import { scriptedModel } from './support/scripted.ts';
import { all, events, execute, type Received, textOf, turn, until } from './support/stream.ts';

const model = await scriptedModel();
const say = (text: string) => ({ steps: [{ text }] });
const use = (...tools: string[]) => ({
  steps: tools.map((tool) => ({ tool, input: tool === 'ask_user' ? { question: 'Which?' } : {} })),
});

/** A catalog with these hooks; they run in its folder, which they cannot write: `WORK` stands for the workspace. */
function catalogWith(hooks: unknown, workspace = ''): { CATALOG_DIR: string } {
  const catalog = catalogOf({ assistant: ['ask_user', 'list_files', 'run_agent'] });
  const text = JSON.stringify(hooks).replaceAll('WORK', workspace);
  writeFileSync(join(catalog.CATALOG_DIR, 'hooks.json'), text);
  return catalog;
}

const sh = (script: string, more = {}) => ({ command: ['sh', '-c', script], ...more });
/** Writes down what it is told, a line each time, and then does what `script` says. */
const note = (script = 'exit 0') => sh(`printf '%s\\n' "$(cat)" >> WORK/seen; ${script}`);

async function engineWith(hooks: unknown, flags: Record<string, string> = {}) {
  const home = temporaryFolder();
  const workspace = join(home, 'workspace');
  const settings = { ...model.settings, ...catalogWith(hooks, workspace), ...runnable, ...flags };
  const engine = await startEngine(home, settings);
  const fileOf = (name: string) => join(workspace, name);
  return {
    engine,
    restart: () => startEngine(home, settings),
    fileOf,
    seen: () =>
      existsSync(fileOf('seen'))
        ? readFileSync(fileOf('seen'), 'utf8')
            .split('\n')
            .filter((line) => line !== '')
            .map((line) => JSON.parse(line))
        : [],
  };
}

const resultsOf = (received: Received[]) =>
  received.filter((event) => event.type === 'tool_result').map((event) => event.data);
const end = (received: Received[]) => received.at(-1)?.data;
const asked = () => JSON.stringify(model.requests.at(-1)?.body);

const poll = async (what: () => boolean) => {
  await expect.poll(what, { timeout: 10_000, interval: 20 }).toBe(true);
};

describe('before a tool', () => {
  it('a hook that blocks it is asked first: the call does not run, nobody is asked, the model hears why', async () => {
    const hook = { ...note('echo "Not on a Sunday." >&2; exit 2'), match: 'ask_user' };
    const { engine, seen } = await engineWith({ pre_tool: [hook, note()] });
    model.script(use('list_files', 'ask_user'), say('Then not.'));
    const received = await turn(engine, 'blocked', 'Ask me.');
    expect(received.some((event) => event.type === 'hitl_request')).toBe(false);
    expect(resultsOf(received)).toMatchObject([
      { tool: 'list_files' },
      { tool: 'ask_user', error: 'blocked_by_hook', output: 'Not on a Sunday.' },
    ]);
    expect(resultsOf(received)[0]?.error).toBeUndefined();
    expect(asked()).toContain('blocked_by_hook: Not on a Sunday.');
    expect(end(received)).toMatchObject({ phase: 'completed' });
    const turn_id = end(received)?.turn_id;
    const told = seen();
    expect(told).toHaveLength(2);
    expect(told).toContainEqual({
      event: 'pre_tool',
      task_id: 'blocked',
      turn_id,
      tool_call_id: resultsOf(received)[1]?.tool_call_id,
      tool: 'ask_user',
      input: { question: 'Which?' },
    });
    await engine.stop();
  });

  it('a call that has asked a person has passed its hooks', async () => {
    const { engine, seen } = await engineWith({ pre_tool: [note()] });
    model.script(use('ask_user', 'ask_user'), say('Thanks.'));
    const stream = events(await execute(engine, { task_id: 'asks', message: 'Ask me twice.' }));
    const received: Received[] = [];
    for (const _ of [1, 2]) {
      received.push(...(await until(stream, ({ type }) => type === 'hitl_request')));
      const body = JSON.stringify({ task_id: 'asks', answer: 'this' });
      const headers = { 'Content-Type': 'application/json' };
      expect((await engine.fetch('/hitl/respond', { method: 'POST', headers, body })).status).toBe(200);
    }
    received.push(...(await until(stream, ({ data }) => data.phase === 'completed')));
    // The hooks of both run side by side. Whichever call asks second has to wait with its question, and is looked at
    // again when the first is answered.
    const ids = seen().map(({ tool_call_id }) => tool_call_id);
    expect([ids.length, new Set(ids).size]).toEqual([3, 2]);
    await engine.stop();
  });
});

it('after a tool a hook may say something beside the result', async () => {
  const { engine, seen } = await engineWith({
    post_tool: [note('echo "Mind the dust." >&2; exit 2'), note('echo "And the dog." >&2; exit 2')],
  });
  model.script(use('list_files'), say('I will.'));
  const received = await turn(engine, 'after', 'Look.');
  expect(resultsOf(received)).toMatchObject([{ tool: 'list_files', output: { entries: [] } }]);
  expect(resultsOf(received)[0]?.error).toBeUndefined();
  expect(asked()).toMatch(/list_files[^"]*Mind the dust\.\\nAnd the dog\./);
  expect(seen()).toMatchObject([
    { event: 'post_tool', tool: 'list_files', output: { entries: [] } },
    { event: 'post_tool' },
  ]);
  await engine.stop();
});

describe('when the model has stopped', () => {
  it('a hook may refuse, once in a turn', async () => {
    const { engine, seen } = await engineWith({ stop: [note('echo "Say please." >&2; exit 2')] });
    model.script(say('Done.'), say('Done, please.'), say('Hello again.'), say('Please.'));
    const received = await turn(engine, 'stop', 'Do it.');
    expect(textOf(received)).toBe('Done.Done, please.');
    expect(end(received)).toMatchObject({ phase: 'completed' });
    expect(asked()).toContain('Say please.');
    expect(seen()).toMatchObject([
      { event: 'stop', task_id: 'stop', text: 'Done.', refused: false },
      { event: 'stop', text: 'Done, please.', refused: true },
    ]);
    expect(textOf(await turn(engine, 'stop', 'And again.'))).toBe('Hello again.Please.');
    await engine.stop();
  });

  it('a sub-agent has no hook of its own, and a schema is looked at after the hooks', async () => {
    const { engine, seen } = await engineWith({ stop: [note()] });
    const input = { agent: 'assistant', message: 'A number.' };
    model.script({ steps: [{ tool: 'run_agent', input }] }, say('Seven.'), say('No JSON.'), say('{"n":7}'));
    const body = {
      task_id: 'both',
      message: 'A number.',
      output_schema: { required: ['n'], type: 'object' },
    };
    const received = await all(execute(engine, body));
    expect(received.find((event) => event.type === 'structured_output')?.data).toMatchObject({
      output: { n: 7 },
      repairs: 1,
    });
    expect(seen().map(({ text }) => text)).toEqual(['No JSON.', '{"n":7}']);
    await engine.stop();
  });

  it('a kill does not lose the answer that a hook looks at', async () => {
    const { engine, restart, fileOf } = await engineWith({
      stop: [sh('test -e WORK/go && exit 0; exec sleep 60.117', { timeout_s: 100 })],
    });
    const before = model.requests.length;
    model.script(say('Done.'));
    const body = { task_id: 'killed', message: 'Do it.' };
    const stream = events(await execute(engine, body));
    await until(stream, ({ type }) => type === 'usage');
    await poll(() => processesWith('60.117').length > 0);
    await engine.stop('SIGKILL');
    writeFileSync(fileOf('go'), '');
    const again: Engine = await restart();
    expect(end(await all(execute(again, body)))).toMatchObject({ phase: 'completed' });
    expect(model.requests.length - before).toBe(1);
    await again.stop();
    // Only a sandbox ends with its Engine.
    for (const pid of processesWith('60.117')) process.kill(pid, 'SIGKILL');
  });
});

describe('a hook', () => {
  it('that fails, is not there, does not end or is killed is logged and ignored', async () => {
    const pre_tool = [
      sh('echo "Oops." >&2; exit 1'),
      { command: ['./no-such-hook'] },
      sh('sleep 60.118 & wait', { timeout_s: 2 }),
      sh('kill -9 $$'),
    ];
    const { engine } = await engineWith({
      pre_tool,
      post_tool: [sh('exit 1')],
      stop: [sh('exit 3')],
    });
    model.script(use('list_files'), say('Done.'));
    const received = await turn(engine, 'fails', 'Look.');
    expect(resultsOf(received)[0]?.error).toBeUndefined();
    expect(end(received)).toMatchObject({ phase: 'completed' });
    const lines = engine.logs.filter(({ message }) => message === 'A hook failed and is ignored');
    expect(lines.map(({ extra }) => extra)).toMatchObject([
      { event: 'pre_tool', exit_code: 1, stderr: 'Oops.' },
      { event: 'pre_tool', exit_code: null, problem: expect.stringMatching(/ENOENT|No such file/) },
      { event: 'pre_tool', exit_code: null, problem: 'no end after 2 s' },
      { event: 'pre_tool', exit_code: null, problem: 'ended by SIGKILL' },
      { event: 'post_tool', exit_code: 1 },
      { event: 'stop', exit_code: 3 },
    ]);
    await poll(() => processesWith('60.118').length === 0);
    await engine.stop();
  });

  it('gets nothing of the Engine’s environment, may leave its input unread, and is heard to a limit', async () => {
    const EXPECTED = ['PATH', 'HOME', 'USER', 'LANG', 'TERM', 'PWD', 'OLDPWD', 'SHLVL', '_'];
    const flood = 'env > WORK/env; head -c 3000000 /dev/zero | tr "\\0" x >&2; exit 2';
    const { engine, fileOf } = await engineWith({ pre_tool: [sh(flood)] });
    model.script(use('list_files'), say('Done.'));
    const [result] = resultsOf(await turn(engine, 'scrubbed', 'Look.'));
    expect(String(result?.output).length).toBeLessThanOrEqual(8_000);
    const names = readFileSync(fileOf('env'), 'utf8').match(/^\w+/gm);
    expect(names).toContain('PATH');
    expect(names?.filter((name) => !EXPECTED.includes(name))).toEqual([]);
    await engine.stop();
  });

  it('ends with the turn that is cancelled', async () => {
    const { engine } = await engineWith({ stop: [sh('sleep 60.119 & wait', { timeout_s: 100 })] });
    model.script(say('Done.'));
    const stream = events(await execute(engine, { task_id: 'cancelled', message: 'Do it.' }));
    await until(stream, ({ type }) => type === 'usage');
    await poll(() => processesWith('60.119').length > 0);
    await engine.fetch('/tasks/cancelled/cancel', { method: 'POST' });
    await until(stream, ({ data }) => data.error === 'TURN_CANCELLED');
    await poll(() => processesWith('60.119').length === 0);
    await engine.stop();
  });

  it.each([
    [['PRE_TOOL_HOOKS_ENABLED', 'STOP_HOOKS_ENABLED'], ['post_tool']],
    [['POST_TOOL_HOOKS_ENABLED'], ['pre_tool', 'stop']],
    [['HOOKS_SETTINGS_LOAD_ENABLED'], []],
  ])('is not run where %s is off', async (flags, left) => {
    const { engine, seen } = await engineWith(
      { pre_tool: [note()], post_tool: [note()], stop: [note()] },
      Object.fromEntries(flags.map((flag) => [flag, 'false'])),
    );
    model.script(use('list_files'), say('Done.'));
    await turn(engine, 'off', 'Look.');
    expect(seen().map(({ event }) => event)).toEqual(left);
    await engine.stop();
  });
});

describe('a hooks.json', () => {
  it.each([
    ['an unknown place', { before: [] }, 'before'],
    ['a command that is a text', { stop: [{ command: 'check' }] }, 'stop.0.command'],
    ['no command', { pre_tool: [{ match: 'bash' }] }, 'pre_tool.0.command'],
    ['a tool at the end of a turn', { stop: [{ match: 'bash', command: ['x'] }] }, 'match'],
    [
      'a time-out beyond the limit',
      { post_tool: [{ command: ['x'], timeout_s: 301 }] },
      'post_tool.0.timeout_s',
    ],
  ])('with %s is refused', (_, hooks, named) => {
    expect(() => loadHooks(catalogWith(hooks).CATALOG_DIR)).toThrow(named);
  });

  it('that is refused refuses the start', async () => {
    const { code, last } = await refusedStart(temporaryFolder(), catalogWith({ stop: [{}] }));
    expect(code).toBe(64);
    expect(last?.message).toMatch(/hooks\.json: stop\.0\.command/);
  });
});
