import { describe, expect, it } from 'vitest';
import { compileSchema } from '../src/turn/structured_output.ts';
import { WIRES } from './herald/support.ts';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { scriptedModel } from './support/scripted.ts';
import { all, events, execute, outline, type Received, textOf, turn, until } from './support/stream.ts';

const CITY = {
  type: 'object',
  properties: { city: { type: 'string' }, degrees: { type: 'number', minimum: -90 } },
  required: ['city', 'degrees'],
  additionalProperties: false,
};
const GOOD = '{"city":"Kyiv","degrees":4}';
const KYIV = { city: 'Kyiv', degrees: 4 };

const model = await scriptedModel();
const folder = temporaryFolder();
const engine = await startEngine(folder, model.settings);

const say = (text: string) => ({ steps: [{ text }] });
const ask = (task_id: string, output_schema: unknown = CITY, more = {}) =>
  all(execute(engine, { task_id, message: 'How warm?', output_schema, ...more }));
const dataOf = (received: Received[], type: string) =>
  received.filter((event) => event.type === type).map((event) => event.data);

/** What the model was shown last, as one text for each message. */
function shown(): string[] {
  const { messages } = (model.requests.at(-1)?.body ?? {}) as { messages: { content: unknown }[] };
  return messages.map(({ content }) =>
    typeof content === 'string'
      ? content
      : (content as { text?: string }[]).map(({ text = '' }) => text).join('\n'),
  );
}

describe('an answer that fits its schema', () => {
  it('comes as JSON, right before the end, and as text too', async () => {
    model.script(say(GOOD));
    const received = await ask('fits');
    expect(outline(received).slice(-3)).toEqual(['usage', 'structured_output', 'thread_lifecycle completed']);
    expect(dataOf(received, 'structured_output')).toMatchObject([{ output: KYIV, repairs: 0 }]);
    expect(textOf(received)).toBe(GOOD);
    expect(shown()[0]).toContain(JSON.stringify(CITY));
  });

  it('may stand between fences, with nothing around them', async () => {
    model.script(say(`\`\`\`json\n${GOOD}\n\`\`\`\n`));
    expect(dataOf(await ask('fenced'), 'structured_output')).toMatchObject([{ output: KYIV, repairs: 0 }]);
    model.script(say(`Here:\n\`\`\`json\n${GOOD}\n\`\`\``), say(GOOD));
    expect(dataOf(await ask('words'), 'structured_output')).toMatchObject([{ output: KYIV, repairs: 1 }]);
  });

  it('is the final one: tools come before, and what is said with them counts for nothing', async () => {
    model.script({ steps: [{ text: 'I look. ' }, { tool: 'list_files', input: {} }] }, say(GOOD));
    expect(dataOf(await ask('tools'), 'structured_output')).toMatchObject([{ output: KYIV, repairs: 0 }]);
  });

  it('is asked for in this turn only', async () => {
    model.script(say(GOOD), say('Warm.'));
    await ask('once');
    const received = await turn(engine, 'once', 'And in words?');
    expect(dataOf(received, 'structured_output')).toEqual([]);
    expect(received.at(-1)?.data).toMatchObject({ phase: 'completed' });
  });

  it('is asked for again, where another message is answered again', async () => {
    model.script(say('Warm.'), say(GOOD), say(GOOD));
    const [started] = await turn(engine, 'again', 'How warm?');
    const retry_message_id = started?.data.message_id;
    for (const _ of [1, 2]) {
      expect(dataOf(await ask('again', CITY, { retry_message_id }), 'structured_output')).toHaveLength(1);
      // One message of the person, whatever is told with it.
      expect(shown()).toHaveLength(1);
      expect(shown()[0]?.split('JSON Schema below')).toHaveLength(2);
    }
  });

  it('may be one half of which was said in another message', async () => {
    const patient = await startEngine(temporaryFolder(), { ...model.settings, TOKEN_BUDGET_ENABLED: 'true' });
    model.script({ steps: [{ text: '{"city":"Ky' }], stop_reason: 'max_tokens' }, say('iv","degrees":4}'));
    const received = await all(
      execute(patient, { task_id: 'halves', message: 'How warm?', output_schema: CITY }),
    );
    expect(dataOf(received, 'structured_output')).toMatchObject([{ output: KYIV, repairs: 0 }]);
    await patient.stop();
  });
});

describe('an answer that does not fit', () => {
  it('goes back with what is wrong, twice', async () => {
    model.script(say('Rather warm.'), say('{"city":7,"wind":1}'), say(GOOD));
    const received = await ask('mended');
    expect(dataOf(received, 'structured_output')).toMatchObject([{ output: KYIV, repairs: 2 }]);
    const [, first, told, second, told_again] = shown();
    expect([first, second]).toEqual(['Rather warm.', '{"city":7,"wind":1}']);
    expect(told).toContain('is not JSON');
    expect(told_again).toContain('/city must be string');
    expect(told_again).toContain('"wind"');
    expect(told_again).toContain("must have required property 'degrees'");
  });

  it('ends the turn after that, with what is wrong, and stays in the task', async () => {
    model.script(say('{}'), say('{"city":"Kyiv"}'), say('{"city":"Kyiv","degrees":-300}'));
    const received = await ask('hopeless');
    expect(outline(received).slice(-2)).toEqual(['thread_lifecycle errored', 'error']);
    expect(received.at(-1)?.data).toMatchObject({
      error: 'STRUCTURED_OUTPUT_INVALID',
      details: { repairs: 2, errors: [{ path: '/degrees', message: 'must be >= -90' }] },
    });
    const { messages } = await engine.json('/tasks/hopeless');
    const notes = messages.flatMap(({ content }: { content: { note?: string }[] }) =>
      content.flatMap(({ note }) => note ?? []),
    );
    expect(notes).toEqual(['output_schema', 'repair', 'repair']);

    model.script(say('Four degrees.'));
    expect((await turn(engine, 'hopeless', 'In words?')).at(-1)?.data).toMatchObject({ phase: 'completed' });
  });

  it('is not asked for again by a retry without the schema', async () => {
    model.script(say('{"city":"Oslo","degrees":4}'));
    const [first] = await ask('freed');
    model.script(say('Four degrees in Oslo.'));
    const retry = { task_id: 'freed', message: '-', retry_message_id: first?.data.message_id };
    const received = await all(execute(engine, retry));
    expect(textOf(received)).toBe('Four degrees in Oslo.');
    expect(JSON.stringify(model.requests.at(-1)?.body.messages)).toContain('no longer has to fit');
  });

  it('has as many repairs after a kill as it would have had', async () => {
    const home = temporaryFolder();
    let mortal: Engine = await startEngine(home, model.settings);
    const never = new Promise(() => {});
    model.script(say('One.'), { steps: [{ text: 'Two' }, { until: never }] });
    const body = { task_id: 'killed', message: 'How warm?', output_schema: CITY };
    const stream = events(await execute(mortal, body));
    await until(stream, ({ data }) => data.text === 'Two');
    await mortal.stop('SIGKILL');
    model.script(say('Two.'), say('Three.'));
    mortal = await startEngine(home, model.settings);
    const received = await all(execute(mortal, body));
    expect(received.at(-1)?.data).toMatchObject({
      error: 'STRUCTURED_OUTPUT_INVALID',
      details: { repairs: 2 },
    });
    await mortal.stop();
  });
});

describe('a schema', () => {
  it.each([
    ['of an unknown type', { type: 'objekt' }, 'body.output_schema.type'],
    [
      'with a fault inside',
      { properties: { a: { minimum: 'low' } } },
      'body.output_schema.properties.a.minimum',
    ],
    ['with a pattern that is none', { type: 'string', pattern: '(' }, 'body.output_schema'],
    ['that leads elsewhere', { $ref: 'http://127.0.0.1:9/schema.json' }, 'body.output_schema'],
    ['that leads nowhere', { $ref: '#/$defs/gone' }, 'body.output_schema'],
    [
      'of another standard',
      { $schema: 'http://json-schema.org/draft-04/schema#' },
      'body.output_schema.$schema',
    ],
    ['that waits', { $async: true, type: 'object' }, 'body.output_schema.$async'],
    ['too large to keep', { description: 'x'.repeat(70_000) }, 'body.output_schema'],
  ])('%s is refused before the turn begins', async (name, output_schema, path) => {
    const answer = await execute(engine, { task_id: name, message: 'm', output_schema });
    expect(answer.status).toBe(422);
    expect(await answer.json()).toMatchObject({
      error: 'VALIDATION_ERROR',
      details: { issues: [{ path, message: expect.any(String) }] },
    });
    expect((await engine.fetch(`/tasks/${encodeURIComponent(name)}`)).status).toBe(404);
  });

  it('may lead into itself, and be of draft-07', async () => {
    const tree = { type: 'object', properties: { inside: { $ref: '#' } }, additionalProperties: false };
    const check = await compileSchema(tree);
    expect(check('{"inside":{"inside":{}}}')).toEqual({ output: { inside: { inside: {} } } });
    expect(check('{"inside":{"outside":{}}}')).toMatchObject({ errors: [{ path: '/inside' }] });
    const old = await compileSchema({
      $schema: 'http://json-schema.org/draft-07/schema#',
      items: [{ type: 'string' }],
    });
    expect(old('[1]')).toMatchObject({ errors: [{ path: '/0' }] });
  });

  it('cannot keep the Engine busy for ever', async () => {
    const check = await compileSchema({ type: 'string', pattern: '^(a+)+$' }, 300);
    expect(check('"aaaa"')).toEqual({ output: 'aaaa' });
    expect(check(`"${'a'.repeat(60)}b"`)).toMatchObject({
      errors: [{ message: 'takes too long to be checked' }],
    });
  });
});

describe.each(WIRES)('told by $wire', ({ provider, model: model_id, path, ...rest }) => {
  it('the answer is held to the schema, by the provider or by us', async () => {
    const told = await startEngine(temporaryFolder(), {
      LLM_PROVIDER: provider,
      LLM_MODEL: model_id,
      LLM_BASE_URL: model.url + path,
      ...('openai_api' in rest && { LLM_OPENAI_API: rest.openai_api }),
    });
    const body = { message: 'How warm?', output_schema: CITY };
    model.script(say(GOOD));
    expect(dataOf(await all(execute(told, { ...body, task_id: 'a' })), 'structured_output')).toMatchObject([
      { output: KYIV, repairs: 0 },
    ]);
    expect(JSON.stringify(model.requests.at(-1)?.body)).toMatch(/"(json_schema|responseJsonSchema)"/);

    // The list at the root is more than OpenAI holds an answer to.
    model.script(say(GOOD), say('["Kyiv"]'));
    const list = { type: 'array', items: { type: 'string' } };
    const received = await all(execute(told, { ...body, output_schema: list, task_id: 'b' }));
    expect(dataOf(received, 'structured_output')).toMatchObject([{ output: ['Kyiv'], repairs: 1 }]);
    await told.stop();
  });
});

it('the demo model fills a schema in', async () => {
  const demo = await startEngine(temporaryFolder());
  const output_schema = {
    type: 'object',
    properties: {
      answer: { type: 'string', maxLength: 12 },
      mood: { enum: ['good', 'bad'] },
      steps: { type: 'array', items: { $ref: '#/$defs/step' }, minItems: 2 },
    },
    required: ['answer', 'mood', 'steps'],
    additionalProperties: false,
    $defs: { step: { type: 'object', properties: { n: { type: 'integer', minimum: 1 } }, required: ['n'] } },
  };
  const received = await all(execute(demo, { task_id: 'd', message: '17 * 3', output_schema }));
  expect(dataOf(received, 'structured_output')).toMatchObject([
    { output: { answer: '17 * 3 = 51', mood: 'good', steps: [{ n: 1 }, { n: 1 }] }, repairs: 0 },
  ]);
  await demo.stop();
});
