import { EngineErrorBody } from '@september/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { all, execute, textOf } from './support/stream.ts';

let engine: Engine;

beforeAll(async () => {
  engine = await startEngine(temporaryFolder());
});

afterAll(() => engine.stop());

/** The error of an answer that must have the documented shape. */
async function errorOf(answer: Response) {
  const body = EngineErrorBody.parse(await answer.json());
  expect(JSON.stringify(body)).not.toMatch(/\.ts:|node_modules|at async/);
  return { status: answer.status, error: body.error, details: body.details };
}

const json = { 'Content-Type': 'application/json' };
const ok = { message: 'hello', task_id: 'fine' };

describe('bad input to POST /execute', () => {
  const bodies: [string, unknown, string][] = [
    ['no message', { task_id: 't' }, 'body.message'],
    ['no task_id', { message: 'm' }, 'body.task_id'],
    ['an empty message', { ...ok, message: '' }, 'body.message'],
    ['a message of another type', { ...ok, message: 7 }, 'body.message'],
    ['a message of nothing a model takes', { ...ok, message: ' \0\n' }, 'body.message'],
    ['an endless agent', { ...ok, agent: 'a'.repeat(1000) }, 'body.agent'],
    ['metadata that is a document', { ...ok, metadata: { text: 'x'.repeat(70_000) } }, 'body.metadata'],
    ['an empty task_id', { ...ok, task_id: '' }, 'body.task_id'],
    ['a task_id of another type', { ...ok, task_id: { a: 1 } }, 'body.task_id'],
    ['a task_id with NUL', { ...ok, task_id: 'a\0b' }, 'body.task_id'],
    ['a task_id with half a character', { ...ok, task_id: 'a\ud800' }, 'body.task_id'],
    ['a task_id of 2,000 characters', { ...ok, task_id: 'x'.repeat(2000) }, 'body.task_id'],
    ['direct of another type', { ...ok, direct: 'yes' }, 'body.direct'],
    ['metadata of another type', { ...ok, metadata: [] }, 'body.metadata'],
    ['agent of another type', { ...ok, agent: 5 }, 'body.agent'],
    ['media without a source', { ...ok, media: [{ type: 'image' }] }, 'body.media.0.source'],
    [
      'media that is not Base64',
      { ...ok, media: [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'no!' } }] },
      'body.media.0.source.data',
    ],
    [
      'a kind of image nobody takes',
      {
        ...ok,
        media: [{ type: 'image', source: { type: 'base64', media_type: 'image/tiff', data: 'AAAA' } }],
      },
      'body.media.0.source.media_type',
    ],
    [
      'a file instead of a URL',
      { ...ok, media: [{ type: 'image', source: { type: 'url', url: 'file:///etc/passwd' } }] },
      'body.media.0.source.url',
    ],
    ['an edit of another type', { ...ok, edit_message_id: 7 }, 'body.edit_message_id'],
    ['an endless message id', { ...ok, edit_message_id: 'm'.repeat(1000) }, 'body.edit_message_id'],
    ['an empty message id', { ...ok, retry_message_id: '' }, 'body.retry_message_id'],
    [
      'an edit and a retry at once',
      { ...ok, edit_message_id: 'msg-1', retry_message_id: 'msg-1' },
      'body.retry_message_id',
    ],
    ['an output_schema that is no object', { ...ok, output_schema: 'string' }, 'body.output_schema'],
    ['an array', [], 'body'],
    ['null', null, 'body'],
  ];
  it.each(bodies)('%s', async (_, body, path) => {
    const answer = await engine.fetch('/execute', {
      method: 'POST',
      headers: json,
      body: JSON.stringify(body),
    });
    const { status, error, details } = await errorOf(answer);
    expect([status, error]).toEqual([400, 'INVALID_REQUEST']);
    expect(details?.issues).toEqual(expect.arrayContaining([expect.objectContaining({ path })]));
  });

  it.each<[unknown, RegExp]>([
    ['picture.png', /^must be a list of media blocks$/],
    [['picture.png'], /^must be \{"type", "source"\}/],
    [[{ type: 'gif', source: {} }], /^must be \{"type", "source"\}/],
    [[{ type: 'image' }], /^must be \{"type": "base64", "media_type", "data"\}/],
    [[{ type: 'image', source: { type: 'file' } }], /^must be \{"type": "base64", "media_type", "data"\}/],
    [[{ type: 'audio', source: { type: 'base64', data: 'AAAA' } }], /^must be one of audio/],
    [[{ type: 'image', source: { type: 'base64', media_type: 'image/png' } }], /^must be Base64/],
  ])('media %j: says what to send', async (media, message) => {
    const answer = await engine.fetch('/execute', {
      method: 'POST',
      headers: json,
      body: JSON.stringify({ ...ok, media }),
    });
    const { details } = await errorOf(answer);
    expect(details?.issues).toEqual([expect.objectContaining({ message: expect.stringMatching(message) })]);
  });

  const raw: [string, RequestInit][] = [
    ['malformed JSON', { headers: json, body: '{"message": "m"' }],
    ['an empty body', { headers: json, body: '' }],
    ['no body', { headers: json }],
    ['another content type', { headers: { 'Content-Type': 'text/plain' }, body: JSON.stringify(ok) }],
    [
      'metadata nested without end',
      {
        headers: json,
        body: `{"message":"m","task_id":"t","metadata":{"a":${'['.repeat(1e6)}${']'.repeat(1e6)}}}`,
      },
    ],
    ['a form', { body: new URLSearchParams({ message: 'm', task_id: 't' }) }],
    ['bytes that are no text', { headers: json, body: new Uint8Array([0xff, 0xfe, 0x00]) }],
    [
      'a Last-Event-ID that is none',
      { headers: { ...json, 'Last-Event-ID': '-1' }, body: JSON.stringify(ok) },
    ],
    [
      'an endless Idempotency-Key',
      { headers: { ...json, 'Idempotency-Key': 'k'.repeat(300) }, body: JSON.stringify(ok) },
    ],
    ['a body of 10 MB', { headers: json, body: JSON.stringify({ ...ok, message: 'x'.repeat(10_000_000) }) }],
    ['a body of 10 MB in chunks', { headers: json, body: chunks(10), duplex: 'half' } as RequestInit],
  ];
  it.each(raw)('%s', async (_, init) => {
    const answer = await engine.fetch('/execute', { ...init, method: 'POST' });
    expect(await errorOf(answer)).toMatchObject({ status: 400, error: 'INVALID_REQUEST' });
  });

  it('takes weird task ids as they are', async () => {
    for (const task_id of [
      'Ω 漢字 🦊',
      'x'.repeat(1000),
      '../../etc/passwd',
      '"; DROP TABLE turns; --',
      ' ',
    ]) {
      const received = await all(execute(engine, { task_id, message: '2 + 2' }));
      expect(received[0]?.data.task_id).toBe(task_id);
      expect(textOf(received)).toContain('4');
      const replayed = await all(
        engine.fetch(`/execute/replay?after=0&task_id=${encodeURIComponent(task_id)}`),
      );
      expect(replayed).toEqual(received);
    }
  });

  it('mends text that no provider would take', async () => {
    await all(execute(engine, { task_id: 'mend', message: 'my name is Ada\ud800\0' }));
    const received = await all(execute(engine, { task_id: 'mend', message: 'what did I say?' }));
    expect(textOf(received)).toContain('my name is Ada\ufffd');
  });
});

describe('bad input elsewhere', () => {
  const requests: [string, string, RequestInit, number, string][] = [
    ['an unknown route', '/nowhere', {}, 404, 'NOT_FOUND'],
    ['another method', '/execute', { method: 'GET' }, 404, 'NOT_FOUND'],
    ['another method', '/health', { method: 'POST' }, 404, 'NOT_FOUND'],
    ['a path that is no path', '/execute/%ff', {}, 404, 'NOT_FOUND'],
    ['after of another type', '/execute/replay?after=yesterday', {}, 400, 'INVALID_REQUEST'],
    ['a negative after', '/execute/replay?after=-5', {}, 400, 'INVALID_REQUEST'],
    ['after twice', '/execute/replay?after=1&after=2', {}, 400, 'INVALID_REQUEST'],
    ['follow of another type', '/execute/replay?after=0&follow=1', {}, 400, 'INVALID_REQUEST'],
    ['an empty task_id', '/execute/replay?after=0&task_id=', {}, 400, 'INVALID_REQUEST'],
    ['no place to begin', '/execute/replay', {}, 400, 'INVALID_REQUEST'],
    [
      'malformed JSON',
      '/admin/rotate-key',
      { method: 'POST', headers: json, body: '{' },
      400,
      'INVALID_REQUEST',
    ],
    ['no body', '/admin/rotate-key', { method: 'POST' }, 400, 'INVALID_REQUEST'],
  ];
  it.each(requests)('%s: %s', async (_, path, init, status, error) => {
    expect(await errorOf(await engine.fetch(path, init))).toMatchObject({ status, error });
  });

  it('answers a browser that asks first, without a key', async () => {
    const answer = await fetch(`${engine.url}/execute`, {
      method: 'OPTIONS',
      headers: {
        Origin: 'https://app.example',
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'x-engine-key',
      },
    });
    expect(answer.status).toBe(204);
    expect(answer.headers.get('access-control-allow-headers')?.toLowerCase()).toContain('x-engine-key');
  });
});

it('is healthy after all that, and has logged neither key nor stack of its own making', async () => {
  const health = await fetch(`${engine.url}/health`);
  expect(health.status).toBe(200);
  expect(await health.json()).toMatchObject({
    status: 'ok',
    subsystems: { database: 'ok', llm_provider: 'demo', asset_directory: 'disabled' },
  });
  expect(engine.logs.filter((line) => line.level === 'ERROR')).toEqual([]);
  expect(JSON.stringify(engine.logs)).not.toContain('test-key');
});

/** A body of so many megabytes without a Content-Length. */
function chunks(megabytes: number): ReadableStream<Uint8Array> {
  let left = megabytes;
  return new ReadableStream({
    pull(controller) {
      if (left-- > 0) controller.enqueue(new Uint8Array(1_000_000).fill(0x20));
      else controller.close();
    },
  });
}
