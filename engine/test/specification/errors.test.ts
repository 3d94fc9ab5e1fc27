/**
 * Every row of the error catalogue (engine-api §3, and what this project adds), provoked in a real Engine, over HTTP
 * or in the stream of a turn: a code that nothing here provokes, or a row whose code is gone, fails the test.
 */
import { createHash } from 'node:crypto';
import { cpSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { EngineErrorBody } from '@september/contract';
import type { Reply } from '@september/model-server';
import { describe, expect, it } from 'vitest';
import { ERRORS, type ErrorCode } from '../../src/errors.ts';
import { type Engine, startEngine, temporaryFolder } from '../support/engine.ts';
import { asks, isAsked } from '../support/person.ts';
import { scriptedModel } from '../support/scripted.ts';
import { all, events, execute, outline, type Received, rest, turn, until } from '../support/stream.ts';

const model = await scriptedModel();
const folder = temporaryFolder();
const engine = await startEngine(folder, model.settings);

const look: Reply = { steps: [{ tool: 'list_files', input: {} }] };
const never = { until: new Promise(() => {}) };
const impatient = fileURLToPath(new URL('../support/impatient.ts', import.meta.url));
const migrations = fileURLToPath(new URL('../../src/brain/migrations', import.meta.url));

/** The error of an HTTP answer. */
async function answered(answer: Response) {
  const wait_s = Number(answer.headers.get('retry-after'));
  const must_wait = answer.status === 429 || answer.status === 503;
  expect(wait_s >= 1, 'Retry-After').toBe(must_wait);
  return { status: answer.status, body: EngineErrorBody.strict().parse(await answer.json()) };
}

/** The error at the end of a turn. */
async function ended(at: Engine, message: string, ...replies: Reply[]) {
  model.script(...replies);
  return endOf(await turn(at, message, message));
}

function endOf(received: Received[]) {
  expect(outline(received).slice(-2)).toEqual(['thread_lifecycle errored', 'error']);
  const { type: _, task_id, turn_id, timestamp, ...body } = received.at(-1)?.data ?? {};
  expect(received.at(-2)?.data.error).toEqual(body);
  return { status: null, body: EngineErrorBody.strict().parse(body) };
}

/** What an Engine with these settings ends a turn with. */
async function endedWith(settings: Record<string, string>, message: string, ...replies: Reply[]) {
  const other = await startEngine(temporaryFolder(), { ...model.settings, ...settings });
  const error = await ended(other, message, ...replies);
  await other.stop('SIGKILL');
  return error;
}

type Provoked = { status: number | null; body: EngineErrorBody };

/** The status by the specification, null where it comes in the stream of a turn, and a way there. */
const ROWS: Record<ErrorCode, [status: number | null, provoke: () => Promise<Provoked>]> = {
  INVALID_REQUEST: [400, async () => answered(await execute(engine, { message: 'No task.' }))],
  INVALID_KEY: [
    401,
    async () => answered(await engine.fetch('/tasks', { headers: { 'X-Engine-Key': 'of-nobody' } })),
  ],
  KEY_ROTATION_PENDING: [
    401,
    async () => {
      const other = await startEngine(temporaryFolder());
      const rotated = await other.fetch('/admin/rotate-key', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ key_hash: createHash('sha256').update('next').digest('hex') }),
      });
      expect(rotated.status).toBe(200);
      return answered(await other.fetch('/tasks'));
    },
  ],
  TASK_NOT_FOUND: [404, async () => answered(await engine.fetch('/tasks/nowhere'))],
  NOT_FOUND: [
    404,
    async () => answered(await execute(engine, { task_id: 'who', message: 'Hi.', agent: 'nobody' })),
  ],
  TASK_BUSY: [
    409,
    async () => {
      model.script({ steps: [{ text: 'On and ' }, never] });
      const stream = events(await execute(engine, { task_id: 'busy', message: 'Talk.' }));
      await until(stream, (event) => event.type === 'text_delta');
      return answered(await execute(engine, { task_id: 'busy', message: 'And?' }));
    },
  ],
  HITL_REQUIRED: [
    409,
    async () => {
      model.script({ steps: [asks('Which?')] });
      await until(events(await execute(engine, { task_id: 'paused', message: 'Ask.' })), isAsked);
      await expect
        .poll(async () => (await answered(await execute(engine, { task_id: 'paused', message: 'So?' }))).body)
        .toMatchObject({ error: 'HITL_REQUIRED' });
      return answered(await execute(engine, { task_id: 'paused', message: 'So?' }));
    },
  ],
  CONTEXT_OVERFLOW: [null, () => ended(engine, 'Too much.', { context_overflow: true })],
  VALIDATION_ERROR: [
    422,
    async () => {
      const output_schema = { type: 'nonsense' };
      return answered(await execute(engine, { task_id: 'schema', message: 'Hi.', output_schema }));
    },
  ],
  LLM_RATE_LIMITED: [null, () => ended(engine, 'Too often.', { status: 429, retry_after_s: 3600 })],
  LLM_PROVIDER_ERROR: [null, () => ended(engine, 'Refused.', { status: 401 })],
  LLM_TIMEOUT: [
    null,
    async () => {
      const command = [process.execPath, '--import', impatient];
      const other = await startEngine(temporaryFolder(), model.settings, 'Ready', command);
      return ended(other, 'Silence.', ...Array<Reply>(3).fill({ silent: true }));
    },
  ],
  INTERNAL_ERROR: [
    500,
    async () => {
      const brain = new DatabaseSync(join(folder, 'brain.sqlite'), { timeout: 5_000 });
      brain.exec('ALTER TABLE turns RENAME COLUMN agent TO away');
      const answer = await answered(await engine.fetch('/tasks'));
      brain.exec('ALTER TABLE turns RENAME COLUMN away TO agent');
      brain.close();
      return answer;
    },
  ],
  MIGRATION_REQUIRED: [
    503,
    async () => {
      const place = temporaryFolder();
      await (await startEngine(place)).stop();
      const older = join(temporaryFolder(), 'migrations');
      cpSync(migrations, older, { recursive: true });
      rmSync(join(older, String(readdirSync(older).sort().at(-1))));
      const other = await startEngine(place, { MIGRATIONS_DIR: older }, 'Serving only /health');
      return answered(await other.fetch('/tasks'));
    },
  ],
  NOT_READY: [
    503,
    async () => {
      const other = await startEngine(temporaryFolder(), model.settings);
      model.script({ steps: [{ text: 'Nearly ' }, never] });
      const stream = events(await execute(other, { task_id: 'last', message: 'Talk.' }));
      await until(stream, (event) => event.type === 'text_delta');
      other.process.kill('SIGTERM');
      await other.logged((line) => line.message.includes('draining'));
      const answer = await answered(await execute(other, { task_id: 'late', message: 'Hi.' }));
      await other.stop('SIGKILL');
      return answer;
    },
  ],
  HITL_EXPIRED: [
    null,
    () => endedWith({ CHANNEL_STATE_TTL_HITL: '1' }, 'Ask.', { steps: [asks('Anybody?')] }),
  ],
  TURN_CANCELLED: [
    null,
    async () => {
      model.script({ steps: [{ text: 'On and ' }, never] });
      const stream = events(await execute(engine, { task_id: 'cancel', message: 'Talk.' }));
      const seen = await until(stream, (event) => event.type === 'text_delta');
      expect((await engine.fetch('/tasks/cancel/cancel', { method: 'POST' })).status).toBe(200);
      return endOf([...seen, ...(await rest(stream))]);
    },
  ],
  AGENT_ITERATION_LIMIT: [null, () => endedWith({ AGENT_MAX_ITERATIONS: '1' }, 'Look.', look)],
  TURN_TIMEOUT: [null, () => endedWith({ TURN_TIMEOUT_S: '1' }, 'Hurry.', { silent: true })],
  TURN_TOKEN_LIMIT: [null, () => endedWith({ TURN_MAX_TOKENS: '1' }, 'Save tokens.')],
  TURN_COST_LIMIT: [null, () => endedWith({ TURN_MAX_COST_USD: '0.000001' }, 'Save money.')],
  REPEATED_TOOL_CALL: [null, () => ended(engine, 'Again.', look, look, look, look, look)],
  STRUCTURED_OUTPUT_INVALID: [
    null,
    async () => {
      model.script(...Array<Reply>(3).fill({ steps: [{ text: 'No JSON.' }] }));
      const output_schema = { type: 'object', properties: { total: { type: 'number' } } };
      return endOf(await all(execute(engine, { task_id: 'form', message: 'Add up.', output_schema })));
    },
  ],
};

/** Codes of the specification that no Engine can answer yet, and what they wait for. */
const NOT_YET: Record<string, string> = {
  PERMISSION_DENIED: '/rpc, and skills',
  ALREADY_EXISTS: 'skills',
  MCP_TOKEN_EXPIRED: 'connectors',
  MCP_CONNECTION_FAILED: 'connectors',
};

describe('the error', () => {
  it.each(Object.entries(ROWS))('%s', { timeout: 60_000 }, async (code, [status, provoke]) => {
    const { status: got, body } = await provoke();
    expect([got, body.error]).toEqual([status, code]);
    expect(body.message).toMatch(/\w/);
    expect(JSON.stringify(body), 'a line of code, or a path').not.toMatch(/\.ts\b|node_modules|engine-test-/);
    if (code === 'INVALID_REQUEST') expect(body.details?.issues).not.toEqual([]);
    if (code === 'LLM_RATE_LIMITED') expect(body.details?.retry_after).toBe(3600);
  });

  it('has a row for each code, and none that is still to come', () => {
    expect(Object.keys(ROWS).sort()).toEqual(Object.keys(ERRORS).sort());
    expect(Object.keys(NOT_YET).filter((code) => code in ERRORS)).toEqual([]);
  });

  it('has the status of the catalogue wherever it is an HTTP answer', () => {
    for (const [code, [status]] of Object.entries(ROWS)) {
      if (status !== null) expect([code, status]).toEqual([code, ERRORS[code as ErrorCode].status]);
    }
  });
});
