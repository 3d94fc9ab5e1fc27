import { describe, expect, it } from 'vitest';
import { catalogOf } from '../support/catalog.ts';
import { type Engine, type Json, startEngine, temporaryFolder } from '../support/engine.ts';
import { answer, asks, isAsked } from '../support/person.ts';
import { scriptedModel } from '../support/scripted.ts';
import { all, errorOf, events, execute, rest, textOf, turn, until } from '../support/stream.ts';
import { base64, image, url } from './files.ts';

const model = await scriptedModel();
const picture = base64('image/png', await image('png', 30, 20));
const attached = [
  { type: 'image', source: picture },
  { type: 'document', name: 'notes.txt', source: base64('text/plain', Buffer.from('Ocean, not sky.')) },
];

/** A turn that waits; the rest of its stream. */
async function asked(engine: Engine, task_id: string) {
  const stream = events(await execute(engine, { task_id, message: 'Paint.' }));
  await until(stream, isAsked);
  return stream;
}

const messageOf = async (refused: Response): Promise<string> => ((await refused.json()) as Json).message;

/** Kinds of the blocks in the last message that the model was shown. */
function lastKinds(): string[] {
  const messages: Json = model.requests.at(-1)?.body.messages;
  return messages.at(-1).content.map(({ type }: Json) => type);
}

describe('media with an answer', () => {
  it('reach the model after the result, stay in the task, and are there after kill -9', async () => {
    const folder = temporaryFolder();
    let engine = await startEngine(folder, model.settings);
    model.script(
      { steps: [asks('Which blue?')] },
      { steps: [{ text: 'I see ' }, { until: new Promise(() => {}) }] },
    );
    const stream = await asked(engine, 'blue');
    const given = await answer(engine, { task_id: 'blue', answer: 'This one.', content_blocks: attached });
    expect(given.status).toBe(200);
    await until(stream, (event) => event.type === 'text_delta');
    expect(lastKinds()).toEqual(['tool_result', 'image', 'text']);
    const sent = JSON.stringify(model.requests.at(-1)?.body.messages);
    expect(sent).toContain(picture.data);
    expect(sent).toContain('Ocean, not sky.');
    await engine.stop('SIGKILL');

    engine = await startEngine(folder, model.settings);
    model.script({ steps: [{ text: 'Ocean blue.' }] }, { steps: [{ text: 'Still.' }] });
    const followed = await all(engine.fetch('/execute/replay?after=0&task_id=blue&follow=true'));
    expect(followed.at(-1)?.data).toMatchObject({ phase: 'completed' });
    expect(JSON.stringify(model.requests.at(-1)?.body.messages)).toBe(sent);

    const task = await engine.json('/tasks/blue');
    expect(task.messages.at(-2).content).toMatchObject([
      { type: 'tool_result', output: 'This one.' },
      { type: 'image', source: picture },
      { type: 'document', name: 'notes.txt', text: 'Ocean, not sky.' },
    ]);
    expect(textOf(await turn(engine, 'blue', 'And now?'))).toBe('Still.');
    expect(JSON.stringify(model.requests.at(-1)?.body.messages)).toContain(picture.data);
    await engine.stop();
  });

  it('that the model does not take are 400, and the question goes on waiting', async () => {
    const engine = await startEngine(temporaryFolder(), model.settings);
    model.script({ steps: [asks('What do you hear?')] }, { steps: [{ text: 'Fine.' }] });
    const stream = await asked(engine, 'sound');
    const content_blocks = [attached[1], { type: 'video', source: url('https://example.com/a.mp4') }];
    const refused = await answer(engine, { task_id: 'sound', answer: 'This.', content_blocks });
    expect([refused.status, await messageOf(refused)]).toEqual([
      400,
      'content_blocks.1: claude-sonnet-4-5 does not take video',
    ]);
    const many = await answer(engine, {
      task_id: 'sound',
      answer: 'These.',
      content_blocks: Array(21).fill(attached[1]),
    });
    expect(await errorOf(many)).toBe('INVALID_REQUEST');
    expect((await engine.json('/hitl/pending')).pending).toHaveLength(1);
    await answer(engine, { task_id: 'sound', answer: 'Nothing.' });
    expect(textOf(await rest(stream))).toBe('Fine.');
    await engine.stop();
  });

  it('are judged by the model of the agent that asks, a sub-agent too', async () => {
    const engine = await startEngine(temporaryFolder(), {
      LLM_PROVIDER: 'openai',
      LLM_MODEL: 'gpt-4o',
      LLM_BASE_URL: `${model.url}/v1`,
      ...catalogOf({ assistant: ['run_agent'], blind: ['ask_user'] }, { blind: 'o3-mini' }),
    });
    model.script(
      { steps: [{ tool: 'run_agent', input: { agent: 'blind', message: 'Ask.' } }] },
      { steps: [asks('What do you see?')] },
      { steps: [{ text: 'A word.' }] },
      { steps: [{ text: 'Thanks.' }] },
    );
    const before = model.requests.length;
    const stream = await asked(engine, 'blind');
    const shown = { task_id: 'blind', answer: 'This.', content_blocks: [attached[0]] };
    const refused = await answer(engine, shown);
    expect(await messageOf(refused)).toBe('content_blocks.0: o3-mini does not take images');
    await answer(engine, { ...shown, content_blocks: [attached[1]] });
    const received = await rest(stream);
    expect(received.at(-1)?.data).toMatchObject({ phase: 'completed' });
    const said = model.requests.slice(before).map(({ body }) => JSON.stringify(body.messages));
    expect(said.filter((messages) => messages.includes('Ocean'))).toHaveLength(1);
    await engine.stop();
  });
});
