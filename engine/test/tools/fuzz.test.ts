/**
 * Every platform tool under inputs that nobody thought of: what breaks its schema comes back as a result the model can
 * mend, nothing crashes, and nothing outside of the roots is read or touched.
 */
import { createHash, randomUUID } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Log } from '../../src/observe/log.ts';
import type { FailureReason, Tool } from '../../src/tools/contract.ts';
import { createToolRunner } from '../../src/tools/runner.ts';
import { brainOf } from '../support/brain.ts';
import { allPlatformTools, PLATFORM_TOOLS } from '../support/platform.ts';
import { makeRoots, WAYS_OUT, WAYS_OUT_TO_READ } from '../support/rooted.ts';
import { inputsOf } from '../support/schema_inputs.ts';
import { toolContext } from '../support/tool_context.ts';

const RUNS = 100;

const REASONS = [
  'permission_denied',
  'interrupted',
  'invalid_input',
  'timeout',
  'not_found',
  'sandbox_unavailable',
  'execution_failed',
] satisfies FailureReason[];

/** An answer that fills the conversation is a crash of another kind, characters of JSON. */
const MAX_ANSWER = 500_000;

const { folder, roots, inside } = makeRoots();
const SENTINEL = randomUUID();
writeFileSync(join(folder, 'outside', 'sentinel.txt'), `${SENTINEL}\n`.repeat(100));

/** Words that a call could well be made of. */
const USUAL = [
  'in.txt',
  'sub',
  '.',
  inside('sub'),
  'good-link',
  'good-folder-link',
  'sub/new.txt',
  'inside',
  'n',
];

/** Names of what no call may get at. */
const OUTSIDE = [
  '../outside',
  'folder-link',
  'folder-link/sentinel.txt',
  join(folder, 'outside'),
  join(folder, 'outside', 'sentinel.txt'),
  inside('sub/../../outside/sentinel.txt'),
];

/** Words that have broken something somewhere. */
const HOSTILE = [
  ...WAYS_OUT,
  'in.txt/',
  'pipe',
  '~',
  '',
  ' ',
  '\0',
  'in.txt\0.png',
  '%2e%2e/outside/sentinel.txt',
  '..\\outside\\sentinel.txt',
  '--help',
  '-rf',
  '$(id)',
  '`id`',
  '*',
  '**/*',
  '(',
  '[',
  '{{',
  '\\',
  '(a+)+$',
  '\ud800',
  '\u202etxt.exe',
  '\ufeff',
  '__proto__',
  'constructor',
  'x'.repeat(5_000),
  '../'.repeat(2_000),
];

/** Only for tools that read: what is written there, should a tool be broken, would harm the machine of the test. */
const TO_READ = [...WAYS_OUT_TO_READ, '/dev/zero', '/dev/stdin', '/proc/self/mem', 'file:///etc/passwd'];

const wordsFor = (tool: Tool) =>
  fc.oneof(
    { weight: 2, arbitrary: fc.constantFrom(...USUAL) },
    fc.constantFrom(...OUTSIDE),
    fc.constantFrom(...HOSTILE, ...(tool.effect({}) === 'pure' ? TO_READ : [])),
  );

/** What is outside, and what is the brain's: names, kinds, modes, times and bytes. */
function checksum(): string {
  const hash = createHash('sha256');
  const visit = (path: string) => {
    const { mode, size, mtimeMs, ino } = lstatSync(path);
    const is_folder = lstatSync(path).isDirectory();
    hash.update(JSON.stringify([path, mode, is_folder ? 0 : size, mtimeMs, ino]));
    if (is_folder) for (const name of readdirSync(path).sort()) visit(join(path, name));
    else hash.update(readFileSync(path));
  };
  for (const name of ['outside', 'rootless']) visit(join(folder, name));
  for (const name of readdirSync(join(folder, 'second')).sort()) {
    // What commands have in the making is the sandbox's to change.
    if (name.startsWith('brain') && !name.includes('.scratch')) visit(join(folder, 'second', name));
  }
  expect(readdirSync(folder).sort()).toEqual(['outside', 'root', 'rootless', 'second']);
  return hash.digest('hex');
}

it('knows every tool', async () => {
  const tools = allPlatformTools(roots, await brainOf());
  expect(tools.map(({ definition }) => definition.name).sort()).toEqual(PLATFORM_TOOLS);
});

it.each(PLATFORM_TOOLS)(`%s holds out against ${RUNS} inputs`, async (name) => {
  const broken: string[] = [];
  const note = (message: string) => void broken.push(message);
  const log: Log = { debug: note, info: note, warn: note, error: note, named: () => log };
  const runner = createToolRunner(allPlatformTools(roots, await brainOf()), { log });
  const tool = runner.find(name);
  if (tool === undefined) throw new Error(`There is no tool ${name}`);
  const { input_schema } = tool.definition;
  const fitsSchema = new Ajv2020({ strict: false, validateFormats: false }).compile(input_schema);
  const context = toolContext({
    answered: { answer: 'yes', feedback: null, content: [] },
    runAgent: async () => ({ output: 'done' }),
  });
  const takes_path = Object.keys(Object(input_schema.properties)).includes('path');
  const before = checksum();

  await fc.assert(
    fc.asyncProperty(inputsOf(input_schema, wordsFor(tool)), async (input) => {
      // What the loop asks of a tool before it runs must not break either.
      const record = Object(input);
      for (const action of tool.acts?.(record) ?? []) expect(action.kind).toMatch(/^(shell|write|network)$/);
      expect(['pure', 'idempotent', 'checkable', 'once']).toContain(tool.effect(record));
      tool.asks?.(record);

      const outcome = await runner.run(tool, input, context);
      expect(broken).toEqual([]);
      if (outcome.error !== undefined) expect(REASONS).toContain(outcome.error);
      if (!fitsSchema(input)) {
        expect(outcome).toEqual({ error: 'invalid_input', output: expect.stringMatching(/./) });
      }
      const told = JSON.stringify(outcome);
      expect(told.length).toBeLessThan(MAX_ANSWER);
      expect(told).not.toContain(SENTINEL);
      // A refusal may repeat the path it was given; an answer tells where it comes from.
      if (takes_path && outcome.error === undefined) expect(told).not.toContain(join(folder, 'outside'));
    }),
    { numRuns: RUNS },
  );
  expect(checksum()).toBe(before);
});
