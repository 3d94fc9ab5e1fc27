import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loadTools } from '../../src/catalog/tools.ts';
import { defineTool, type Effect, type Tool } from '../../src/tools/contract.ts';
import { withDefined } from '../../src/tools/defined.ts';
import { grepTool } from '../../src/tools/grep.ts';
import { writeFileTool } from '../../src/tools/write_file.ts';
import { createFileQueue } from '../../src/tools/writing.ts';
import { catalogOf } from '../support/catalog.ts';
import { refusedStart, startEngine, temporaryFolder } from '../support/engine.ts';
import { answer, isAsked } from '../support/person.ts';
import { makeRoots } from '../support/rooted.ts';
import { scriptedModel } from '../support/scripted.ts';
import { events, execute, type Received, rest, turn, until } from '../support/stream.ts';
import { toolContext } from '../support/tool_context.ts';

const DESCRIPTION = 'Finds open questions in notes. Use it before a summary.';

/** A tool of its own over grep. */
const OPEN_QUESTIONS = {
  name: 'find_open_questions',
  description: DESCRIPTION,
  input_schema: {
    type: 'object',
    properties: {
      pattern: { type: 'string', enum: ['TODO', 'FIXME'], description: 'The mark.' },
      path: { type: 'string', description: 'The folder.' },
    },
    required: ['pattern', 'path'],
    additionalProperties: false,
  },
  implementation: { kind: 'platform', ref: 'grep' },
  effect: 'pure',
};

/** One without an implementation: what the model gives is the result. */
const INVOICE = {
  name: 'invoice',
  description: 'Call it with what an invoice says.',
  input_schema: {
    type: 'object',
    properties: { total: { type: 'number', minimum: 0 }, due: { type: 'string', format: 'date' } },
    required: ['total'],
  },
};

const { roots, folder } = makeRoots();
const platform = [grepTool(roots), writeFileTool(roots, createFileQueue())];
const load = (tools: Record<string, unknown>) =>
  loadTools(
    catalogOf({ assistant: [] }, {}, tools).CATALOG_DIR,
    platform.map((tool) => tool.definition.name),
  );

async function defined(definition: Record<string, unknown>): Promise<Tool> {
  const name = String(definition.name);
  const tools = withDefined(platform, await load({ [name]: definition }));
  const found = tools.find((tool) => tool.definition.name === name);
  if (found === undefined) throw new Error(`There is no ${name}`);
  return found;
}

const model = await scriptedModel();

describe('a tool of the catalog', () => {
  const agent = { assistant: ['find_open_questions', 'invoice'] };
  const results = (received: Received[]) =>
    received.filter((event) => event.type === 'tool_result').map((event) => event.data);

  it('is shown to the agents that name it, checked by its own schema, and runs', async () => {
    const home = temporaryFolder();
    const catalog = catalogOf(agent, {}, { find_open_questions: OPEN_QUESTIONS, invoice: INVOICE });
    const engine = await startEngine(home, { ...model.settings, ...catalog });
    writeFileSync(join(home, 'workspace', 'notes.md'), 'TODO: ask\nDONE\n');
    const use = (tool: string, input: Record<string, unknown>) => ({ tool, input });
    model.script(
      {
        steps: [
          use('find_open_questions', { pattern: 'TODO', path: '.' }),
          use('find_open_questions', { pattern: 'DONE', path: '.', deep: true }),
          use('find_open_questions', { pattern: 'TODO', path: '/etc' }),
          use('invoice', { total: 12.5, due: '2026-12-01' }),
          use('invoice', { total: -1 }),
          use('grep', { pattern: 'TODO', path: '.' }),
        ],
      },
      { steps: [{ text: 'One is open.' }] },
    );
    const received = await turn(engine, 'defined', 'What is open?');
    expect(JSON.stringify(model.requests[0]?.body)).toContain(DESCRIPTION);
    const [found, wrong, outside, invoice, negative, unnamed] = results(received);
    expect(found?.output).toMatchObject({ matches: [{ line: 1, text: 'TODO: ask' }] });
    expect(wrong).toMatchObject({ error: 'invalid_input' });
    expect(wrong?.output).toContain('pattern: must be equal to one of the allowed values: ["TODO","FIXME"]');
    expect(wrong?.output).toContain('"deep"');
    expect(outside).toMatchObject({ error: 'permission_denied' });
    expect(invoice).toMatchObject({ output: { total: 12.5, due: '2026-12-01' } });
    expect(negative).toMatchObject({ error: 'invalid_input', output: 'total: must be >= 0' });
    expect(unnamed).toMatchObject({ error: 'not_found' });
    await engine.stop();
  });

  it('may stand for the platform tool of its name, and then is that tool to everybody', async () => {
    const grep = { ...OPEN_QUESTIONS, name: 'grep', requires_permission: true };
    const [tool, ...others] = withDefined(platform, await load({ grep }));
    expect(others.map(({ definition }) => definition.name)).toEqual(['write_file']);
    expect(tool).toMatchObject({ definition: { description: DESCRIPTION }, requires_permission: true });
    expect((await tool?.run({ pattern: 'DONE', path: '.' }, toolContext()))?.error).toBe('invalid_input');
  });

  it('has a person asked before every call where it says so, and where the tool behind it goes outside', async () => {
    const home = temporaryFolder();
    const invoice = { ...INVOICE, requires_permission: true, effect: 'pure' };
    const replace = {
      name: 'replace',
      description: DESCRIPTION,
      input_schema: { type: 'object' },
      implementation: { kind: 'platform', ref: 'edit_file' },
    };
    const catalog = catalogOf({ assistant: ['invoice', 'replace'] }, {}, { invoice, replace });
    const engine = await startEngine(home, { ...model.settings, ...catalog });
    const path = join(realpathSync(home), 'outside.txt');
    writeFileSync(path, 'old');
    const said: unknown[] = [];
    const calls = [
      { tool: 'invoice', input: { total: 1 } },
      { tool: 'invoice', input: { total: 1 } },
      { tool: 'replace', input: { path, old_string: 'old', new_string: 'new' } },
    ];
    for (const [index, call] of calls.entries()) {
      model.script({ steps: [call] }, { steps: [{ text: 'Done.' }] });
      const stream = events(await execute(engine, { task_id: `asked-${index}`, message: 'Do it.' }));
      const asked = (await until(stream, isAsked)).at(-1)?.data;
      expect(asked).toMatchObject({ kind: 'permission', tool: call.tool });
      if (call.tool === 'replace') expect(asked?.question).toContain(path);
      await answer(engine, { task_id: `asked-${index}`, answer: index === 1 ? 'no' : 'yes' });
      said.push(...results(await rest(stream)).map(({ error, output }) => error ?? output));
    }
    expect(said).toEqual([{ total: 1 }, 'permission_denied', { path, replacements: 1, line: 1 }]);
    expect(readFileSync(path, 'utf8')).toBe('new');
    await engine.stop();
  });

  it('says what the platform tool would do, and is opened what that is', async () => {
    const save = await defined({
      name: 'save_note',
      description: DESCRIPTION,
      input_schema: { type: 'object' },
      implementation: { kind: 'platform', ref: 'write_file' },
      high_cost: true,
    });
    expect(save.high_cost).toBe(true);
    const path = join(folder, 'outside', 'note.md');
    expect(save.acts?.({ path, content: '' })).toEqual([{ kind: 'write', path }]);
    expect((await save.run({ path, content: '' }, toolContext())).error).toBe('permission_denied');
    const opened = toolContext({ opened: { paths: [path], hosts: [] } });
    expect((await save.run({ path, content: 'x' }, opened)).error).toBeUndefined();
    // The platform tool checks its input too.
    expect((await save.run({}, toolContext())).error).toBe('invalid_input');
  });

  it('counts as the more dangerous of what the file and the tool say', async () => {
    const over = (effect: Effect): Tool =>
      defineTool({
        name: 'base',
        description: '',
        effect,
        input: z.object({}),
        run: async () => ({ output: 1 }),
      });
    const effectOf = async (said: Effect | undefined, is: Effect | undefined) => {
      const implementation = is === undefined ? undefined : { kind: 'platform', ref: 'base' };
      const file = {
        name: 'own',
        description: 'x',
        input_schema: { type: 'object' },
        effect: said,
        implementation,
      };
      const catalog = catalogOf({ assistant: [] }, {}, { own: file }).CATALOG_DIR;
      const base = is === undefined ? [] : [over(is)];
      return withDefined(base, await loadTools(catalog, ['base']))
        .at(-1)
        ?.effect({});
    };
    expect(await effectOf('pure', 'once')).toBe('once');
    expect(await effectOf('idempotent', 'pure')).toBe('idempotent');
    expect(await effectOf('checkable', 'checkable')).toBe('checkable');
    expect(await effectOf('pure', undefined)).toBe('pure');
    // Said nothing, a call that was cut is asked about.
    expect(await effectOf(undefined, 'pure')).toBe('once');
    expect(await effectOf(undefined, undefined)).toBe('once');
  });
});

describe('a definition that is wrong refuses the start, and names file and fault', () => {
  it.each([
    [{ ...INVOICE, name: 'other' }, 'name must be that of its file'],
    [{ ...INVOICE, name: 'Invoice' }, 'snake_case'],
    [{ ...INVOICE, name: 'billing.invoice' }, 'snake_case'],
    [{ ...INVOICE, description: ' ' }, 'description'],
    [{ ...INVOICE, requires_permision: true }, 'requires_permision'],
    [{ ...INVOICE, effect: 'safe' }, 'effect'],
    [{ ...INVOICE, input_schema: { type: 'string' } }, 'input_schema.type: must be object'],
    [
      { ...INVOICE, input_schema: { type: 'object', properties: { a: { type: 'int' } } } },
      'input_schema/properties/a/type',
    ],
    [{ ...INVOICE, input_schema: { type: 'object', $ref: 'https://example.com/x' } }, 'input_schema'],
    [
      { ...INVOICE, implementation: { kind: 'platform', ref: 'git_log' } },
      'there is no platform tool git_log',
    ],
    [
      { ...INVOICE, implementation: { kind: 'skill', ref: 'summarizer' } },
      'skills and MCP actions cannot be tools',
    ],
    [
      { ...INVOICE, implementation: { kind: 'mcp', ref: { server: 'a', action: 'b' } } },
      'skills and MCP actions cannot be tools',
    ],
  ])('%j', async (definition, said) => {
    const name = definition.name === 'other' ? 'invoice' : definition.name;
    const failed = load({ [name]: definition });
    await expect(failed).rejects.toThrow(`tools/${name}.json`);
    await expect(failed).rejects.toThrow(said);
  });

  it('also one that would hide a platform tool', async () => {
    const hidden = { ...OPEN_QUESTIONS, name: 'write_file' };
    await expect(load({ write_file: hidden })).rejects.toThrow('write_file is a platform tool');
  });

  it('with exit code 64', async () => {
    const catalog = catalogOf({ assistant: [] }, {}, { invoice: { ...INVOICE, effect: 'safe' } });
    const { code, last } = await refusedStart(temporaryFolder(), catalog);
    expect([code, last?.message]).toEqual([64, expect.stringContaining('invoice.json')]);
  });
});
