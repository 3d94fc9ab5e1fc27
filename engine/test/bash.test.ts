import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { catalogOf } from './support/catalog.ts';
import { type Engine, refusedStart, startEngine, temporaryFolder } from './support/engine.ts';
import { host, processesWith } from './support/sandbox.ts';
import { scriptedModel } from './support/scripted.ts';
import { events, execute, type Received, turn, until } from './support/stream.ts';

const model = await scriptedModel();
const catalog = catalogOf({ assistant: ['bash', 'ask_user'] });

const start = (home = temporaryFolder(), more: Record<string, string> = {}) =>
  startEngine(home, { ...model.settings, ...catalog, ...more });

const bash = (command: string, more = {}) => ({ steps: [{ tool: 'bash', input: { command, ...more } }] });
const ask = { steps: [{ tool: 'ask_user', input: { question: 'Go on?' } }] };
const done = { steps: [{ text: 'Done.' }] };

const resultOf = (received: Received[]) => received.find(({ type }) => type === 'tool_result')?.data;

/** Runs one command as a turn of its own, and answers with what came of it. */
async function run(engine: Engine, command: string, more: { task?: string; timeout_s?: number } = {}) {
  const { task = 'task', ...input } = more;
  model.script(bash(command, input), done);
  return resultOf(await turn(engine, task, 'Do it.'));
}

const poll = (what: () => unknown) => expect.poll(what, { timeout: 10_000, interval: 20 });

describe.skipIf(host === undefined)('bash in its sandbox', () => {
  it('answers with what a command said and its exit code, which is no error', async () => {
    const engine = await start();
    expect(await run(engine, 'echo out; echo err >&2; exit 3')).toMatchObject({
      output: { stdout: 'out\n', stderr: 'err\n', exit_code: 3 },
    });
    const ended = await run(engine, 'kill -9 $$');
    expect(ended?.error).toBeUndefined();
    expect(ended).toMatchObject({ output: { exit_code: 137 } });
    expect(await run(engine, 'no-such-program')).toMatchObject({ output: { exit_code: 127 } });
    const by_name = 'cat /dev/stdin; echo out > /dev/stdout; echo err | tee /dev/stderr > /dev/null';
    expect(await run(engine, by_name)).toMatchObject({ output: { stdout: 'out\n', stderr: 'err\n' } });
    expect(await run(engine, '(while :; do echo x; done) & echo mine; exit 4')).toMatchObject({
      output: { exit_code: 4 },
    });
    await engine.stop();
  });

  it('keeps the beginning and the end of long output, each stream by itself, and says how much lies between', async () => {
    const engine = await start();
    const result = await run(
      engine,
      'echo first; head -c 3000000 /dev/zero | tr "\\0" x; echo; echo last; echo e >&2',
    );
    const { stdout, stderr } = Object(result?.output);
    expect(stdout).toMatch(/^first\nx{1000}/);
    expect(stdout).toMatch(/x{1000}\nlast\n$/);
    expect(stdout).toContain(`\n[${6 + 3_000_000 + 1 + 5 - 30 * 1024} bytes left out here]\n`);
    expect(stderr).toBe('e\n');
    await engine.stop();
  });

  it('kills a command that is late, with all it has started, and tells what it said until then', async () => {
    const engine = await start();
    const result = await run(engine, 'echo begun; setsid sleep 60.217 & sleep 60.217', { timeout_s: 1 });
    expect(result).toMatchObject({
      error: 'timeout',
      output: { stdout: 'begun\n', message: 'No end after 1 s.' },
    });
    await poll(() => processesWith('60.217')).toEqual([]);
    await engine.stop();
  });

  it('has files in /tmp from one command to the next, for its own task, until the task is deleted or the Engine starts anew', async () => {
    const home = temporaryFolder();
    let engine = await start(home);
    await run(engine, 'echo kept > /tmp/note; echo shared > note', { task: 'one' });
    const read = { output: { stdout: 'kept\n' } };
    const none = { output: { stdout: '', exit_code: 1 } };
    expect(await run(engine, 'cat /tmp/note', { task: 'one' })).toMatchObject(read);
    expect(await run(engine, 'cat /tmp/note', { task: 'two' })).toMatchObject(none);
    expect(await run(engine, 'cat note', { task: 'two' })).toMatchObject({ output: { stdout: 'shared\n' } });

    expect((await engine.fetch('/tasks/one', { method: 'DELETE' })).status).toBe(200);
    expect(await run(engine, 'cat /tmp/note', { task: 'one' })).toMatchObject(none);

    await run(engine, 'echo kept > /tmp/note', { task: 'one' });
    await engine.stop();
    engine = await start(home);
    expect(await run(engine, 'cat /tmp/note', { task: 'one' })).toMatchObject(none);
    await engine.stop();
  });

  describe('what a command leaves running', () => {
    /** A turn that has left something running and waits for a person. */
    async function leaves(engine: Engine, marker: string, task_id = 'left') {
      model.script(bash(`sleep ${marker} & echo on`), ask);
      const stream = events(await execute(engine, { task_id, message: 'Start it.' }));
      const received = await until(stream, ({ type }) => type === 'hitl_request');
      expect(resultOf(received)).toMatchObject({ output: { stdout: 'on\n', exit_code: 0 } });
      expect(processesWith(marker).length).toBeGreaterThan(0);
      return stream;
    }

    it('goes on to the end of the turn', async () => {
      const engine = await start();
      const stream = await leaves(engine, '60.218');
      model.script(done);
      const body = JSON.stringify({ task_id: 'left', answer: 'yes' });
      await engine.fetch('/hitl/respond', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body,
      });
      await until(stream, ({ data }) => data.phase === 'completed');
      await poll(() => processesWith('60.218')).toEqual([]);
      await engine.stop();
    });

    it('ends with a turn that is cancelled', async () => {
      const engine = await start();
      const stream = await leaves(engine, '60.219');
      await engine.fetch('/tasks/left/cancel', { method: 'POST' });
      await until(stream, ({ data }) => data.error === 'TURN_CANCELLED');
      await poll(() => processesWith('60.219')).toEqual([]);
      await engine.stop();
    });

    it.each([
      ['stopped', 'SIGTERM', '60.220'],
      ['killed', 'SIGKILL', '60.221'],
    ] as const)('ends with an Engine that is %s', async (_, signal, marker) => {
      const engine = await start();
      await leaves(engine, marker);
      await engine.stop(signal);
      await poll(() => processesWith(marker)).toEqual([]);
    });
  });

  it('is written in /health, layer by layer, and attacked again on demand', async () => {
    const engine = await start();
    const logged = await engine.logged(({ message }) => message === 'The sandbox holds');
    const { subsystems, sandbox } = await engine.json('/health');
    expect(sandbox).toMatchObject({ mode: 'sandboxed', layers: logged.extra?.layers });
    expect(sandbox.layers.bubblewrap).toEqual({ state: 'active' });
    expect(subsystems.sandbox).toMatch(/^bubblewrap\+seccomp/);
    const again = await engine.json('/admin/sandbox-check', { method: 'POST' });
    expect(again).toMatchObject({ mode: 'sandboxed', layers: sandbox.layers });
    expect(Date.parse(again.checked_at)).toBeGreaterThanOrEqual(Date.parse(sandbox.checked_at));
    await engine.stop();
  });
});

describe('bash without a sandbox', () => {
  it('refuses, and /health says why', async () => {
    const engine = await start(undefined, { PATH: '/nowhere' });
    expect(await run(engine, 'echo out')).toMatchObject({
      error: 'sandbox_unavailable',
      output: { message: expect.stringContaining('bubblewrap is not installed') },
    });
    expect(await engine.json('/health')).toMatchObject({
      status: 'ok',
      subsystems: { sandbox: 'none' },
      sandbox: {
        mode: 'refused',
        layers: { bubblewrap: { state: 'missing', reason: 'bubblewrap is not installed' } },
      },
    });
    await engine.stop();
  });

  it('runs where the operator says so, with nothing of the Engine’s environment, and leaves nothing running', async () => {
    const home = temporaryFolder();
    const engine = await start(home, { SANDBOX_MODE: 'none' });
    const result = await run(engine, 'pwd; env; sleep 60.222 &');
    expect(Object(result?.output).stdout).toMatch(/workspace\n/);
    expect(Object(result?.output).stdout).not.toMatch(/ENGINE|LLM/);
    await poll(() => processesWith('60.222')).toEqual([]);
    expect(await engine.json('/health')).toMatchObject({ sandbox: { mode: 'none', layers: {} } });
    await engine.stop();
  });

  it('is not for production', async () => {
    const { code, last } = await refusedStart(temporaryFolder(), {
      NODE_ENV: 'production',
      SANDBOX_MODE: 'none',
      SQLITE_DB_PATH: join(temporaryFolder(), 'brain.sqlite'),
    });
    expect(code).toBe(64);
    expect(last?.message).toContain('SANDBOX_MODE: none is for development only');
  });
});
