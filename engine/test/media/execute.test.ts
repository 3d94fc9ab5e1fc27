import { type ModelServer, startModelServer } from '@september/model-server';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from '../support/engine.ts';
import { all, execute, textOf } from '../support/stream.ts';
import { base64, image, pdf, url } from './files.ts';

let model: ModelServer;
let engine: Engine;

beforeAll(async () => {
  model = await startModelServer();
  engine = await startEngine(temporaryFolder(), {
    LLM_PROVIDER: 'openai',
    LLM_MODEL: 'gpt-4o',
    LLM_BASE_URL: `${model.url}/v1`,
    MEDIA_PRESEND_VALIDATION_ENABLED: 'TRUE',
  });
});
afterAll(async () => {
  await engine.stop();
  await model.close();
});

describe('media on /execute', () => {
  it('reach the model with their message, and again with the next one, byte for byte', async () => {
    const picture = base64('image/png', await image('png', 30, 20));
    const media = [
      { type: 'image', source: picture },
      { type: 'document', name: 'bill.pdf', source: base64('application/pdf', pdf('Total 12 EUR')) },
    ];
    model.script({ steps: [{ text: 'A bill.' }] }, { steps: [{ text: '12 EUR.' }] });
    await all(execute(engine, { task_id: 'bill', message: 'What is this?', media }));
    expect(textOf(await all(execute(engine, { task_id: 'bill', message: 'How much?' })))).toBe('12 EUR.');

    const [first, second] = model.requests.map(({ body }) => body.messages as unknown[]);
    expect(first?.at(-1)).toEqual({
      role: 'user',
      content: [
        { type: 'text', text: 'What is this?' },
        { type: 'image_url', image_url: { url: `data:image/png;base64,${picture.data}` } },
        {
          type: 'text',
          text: '[document "bill.pdf"]\n[page 1 of 1]\nTotal 12 EUR\n[end of document "bill.pdf"]',
        },
      ],
    });
    expect(second?.slice(0, first?.length)).toEqual(first);
  });

  it.each([
    [
      'what the model does not take',
      { type: 'video', source: url('https://example.com/a.mp4') },
      /gpt-4o does not take video/,
    ],
    ['what is no image', { type: 'image', source: base64('image/png', Buffer.from('no')) }, /no image/],
    ['a PDF that is none', { type: 'document', source: base64('application/pdf', Buffer.from('no')) }, /PDF/],
  ])('%s is 400 before any turn', async (_, block, message) => {
    const answer = await execute(engine, { task_id: 'refused', message: 'Look.', media: [block] });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      error: 'INVALID_REQUEST',
      message: expect.stringMatching(message),
    });
    expect((await engine.fetch('/execute/replay?after=0&task_id=refused')).status).toBe(404);
  });

  it('an Idempotency-Key stands for the media too', async () => {
    const headers = { 'Idempotency-Key': 'k1' };
    const ask = (link: string) =>
      execute(
        engine,
        { task_id: 'key', message: 'Look.', media: [{ type: 'image', source: url(link) }] },
        { headers },
      );
    model.script({ steps: [{ text: 'Seen.' }] });
    expect(textOf(await all(ask('https://example.com/a.png')))).toBe('Seen.');
    expect(textOf(await all(ask('https://example.com/a.png')))).toBe('Seen.');
    expect((await ask('https://example.com/b.png')).status).toBe(400);
  });
});
