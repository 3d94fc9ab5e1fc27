import { type ModelServer, startModelServer } from '@september/model-server';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Schema } from '../../src/herald/output_schema.ts';
import { call, heraldOn, outcome, TOOL, user, WIRES } from './support.ts';

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

const object = (properties: Schema, extra: Schema = {}): Schema => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...extra,
});

const CLOSED = object({ city: { type: 'string' }, degrees: { type: 'number', minimum: -90 } });
const OPTIONAL = object(
  { city: { type: 'string' }, note: { type: 'string', maxLength: 80 } },
  { required: ['city'] },
);
const OPEN = object({ labels: { type: 'object' } });
const TREE: Schema = object(
  { root: { $ref: '#/$defs/node' } },
  { $defs: { node: object({ children: { type: 'array', items: { $ref: '#/$defs/node' } } }) } },
);
const LIST: Schema = { type: 'array', items: { type: 'string' } };

/** What was sent as the form of the answer, wherever this provider wants it. */
function formOf(body: Schema | undefined): { strict?: unknown; schema?: Schema } | undefined {
  const { text, response_format, output_config, generationConfig } = (body ?? {}) as Record<string, Schema>;
  const form = text?.format ?? response_format?.json_schema ?? output_config?.format;
  if (form) return form;
  const schema = generationConfig?.responseJsonSchema as Schema | undefined;
  return schema && { schema };
}

/** `strict` is OpenAI's word; the others always enforce. */
const EXPECTED: Record<
  (typeof WIRES)[number]['wire'],
  Record<string, 'sent' | 'strict' | 'hint' | 'kept back'>
> = {
  anthropic: { CLOSED: 'sent', OPTIONAL: 'sent', OPEN: 'kept back', TREE: 'kept back', LIST: 'sent' },
  openai_responses: { CLOSED: 'strict', OPTIONAL: 'hint', OPEN: 'hint', TREE: 'strict', LIST: 'kept back' },
  openai_chat: { CLOSED: 'strict', OPTIONAL: 'hint', OPEN: 'hint', TREE: 'strict', LIST: 'kept back' },
  gemini: { CLOSED: 'sent', OPTIONAL: 'sent', OPEN: 'sent', TREE: 'kept back', LIST: 'sent' },
};
const SCHEMAS = { CLOSED, OPTIONAL, OPEN, TREE, LIST };

describe.each(WIRES)('an answer by schema, $wire', (wire) => {
  it.each(Object.entries(SCHEMAS))('%s', async (name, output_schema) => {
    const { herald } = heraldOn(server, wire);
    server.script({ steps: [{ text: '{"city":"Kyiv","degrees":4}', chunks: 3 }] });
    const { events, error } = await outcome(call(herald, [user('How warm?')], { output_schema }));
    // The server refuses what this provider would.
    expect(error).toBeUndefined();
    expect(events.at(-1)).toMatchObject({ type: 'finish', stop_reason: 'end_turn' });
    expect(events).toContainEqual(
      expect.objectContaining({ block: expect.objectContaining({ text: '{"city":"Kyiv","degrees":4}' }) }),
    );

    const body = server.requests[0]?.body;
    const form = formOf(body);
    const expected = EXPECTED[wire.wire][name];
    const seen =
      form?.schema === undefined
        ? 'kept back'
        : form.strict === undefined
          ? 'sent'
          : form.strict
            ? 'strict'
            : 'hint';
    expect(seen).toBe(expected);
    if (name === 'CLOSED')
      expect(form?.schema).toMatchObject({ type: 'object', required: ['city', 'degrees'] });
    // Our own tools stay callable, and no other is made up beside them.
    expect(JSON.stringify(body?.tools)).toContain(TOOL.name);
    expect(JSON.stringify(body?.tools)).not.toContain('"json"');
  });

  it('may call tools before', async () => {
    const { herald } = heraldOn(server, wire);
    server.script({ steps: [{ tool: 'read_file', input: { path: 'a' } }] });
    const { events, error } = await outcome(call(herald, [user('How warm?')], { output_schema: CLOSED }));
    expect(error).toBeUndefined();
    expect(events.at(-1)).toMatchObject({ stop_reason: 'tool_use' });
  });

  it('is not asked for where none is wanted', async () => {
    server.script({ steps: [{ text: 'Warm.' }] });
    await outcome(call(heraldOn(server, wire).herald, [user('How warm?')]));
    expect(formOf(server.requests[0]?.body)).toBeUndefined();
  });
});

describe('a model that cannot', () => {
  const [anthropic, , chat, gemini] = WIRES;
  const forms = async (wire: (typeof WIRES)[number], model: string, tools = [TOOL]) => {
    server.script({ steps: [{ text: '{}' }] });
    const { herald } = heraldOn(server, wire, { model });
    const { error } = await outcome(call(herald, [user('Hi')], { output_schema: CLOSED, tools }));
    expect(error).toBeUndefined();
    return formOf(server.requests.at(-1)?.body);
  };

  it('is not told', async () => {
    expect(await forms(anthropic, 'claude-sonnet-4-20250514')).toBeUndefined();
    expect(await forms(chat, 'ours-7b')).toBeUndefined();
  });

  it('with tools, is told without them', async () => {
    expect(await forms(gemini, 'gemini-2.5-flash')).toBeUndefined();
    expect(await forms(gemini, 'gemini-2.5-flash', [])).toMatchObject({ schema: { type: 'object' } });
  });
});
