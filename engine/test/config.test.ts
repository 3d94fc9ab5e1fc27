import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ENGINE_SECRETS, EngineExit } from '@september/contract';
import { describe, expect, it } from 'vitest';
import { parseConfig, Variables } from '../src/config.ts';
import { StartError } from '../src/errors.ts';
import { temporaryFolder } from './support/engine.ts';

const key = { ENGINE_API_KEY: 'k' };
const parse = (environment: Record<string, string>) => parseConfig({ ...key, ...environment }, '/cwd');

/** The message of a refusal; fails when there is none. */
function refusal(environment: Record<string, string>): string {
  try {
    parseConfig(environment, '/cwd');
  } catch (error) {
    expect(error).toBeInstanceOf(StartError);
    expect((error as StartError).exit_code).toBe(EngineExit.BAD_CONFIG);
    return (error as StartError).message;
  }
  throw new Error('The configuration was taken');
}

describe('the choice of a model', () => {
  it.each([
    ['nothing', {}, 'demo', 'demo'],
    ['demo', { LLM_PROVIDER: 'demo' }, 'demo', 'demo'],
    ['a key of OpenAI', { OPENAI_API_KEY: 's' }, 'openai', 'gpt-4o'],
    ['LLM_API_KEY', { LLM_API_KEY: 's' }, 'openai', 'gpt-4o'],
    [
      'Anthropic, its key',
      { LLM_PROVIDER: 'anthropic', ANTHROPIC_API_KEY: 's' },
      'anthropic',
      'claude-sonnet-4-5',
    ],
    ['Gemini, LLM_API_KEY', { LLM_PROVIDER: 'gemini', LLM_API_KEY: 's' }, 'gemini', 'gemini-2.5-pro'],
    ['a base URL', { LLM_BASE_URL: 'http://localhost:11434/v1', LLM_MODEL: 'llama3' }, 'openai', 'llama3'],
    ['a base URL in production', { LLM_BASE_URL: 'http://x/v1', NODE_ENV: 'production' }, 'openai', 'gpt-4o'],
    ['empty strings', { OPENAI_API_KEY: '', LLM_MODEL: '' }, 'demo', 'demo'],
  ])('%s', (_, environment, provider, model) => {
    expect(parse(environment).model).toMatchObject({ provider, model });
  });

  it('takes the keys of all providers, and models for special jobs', () => {
    const { model } = parse({
      LLM_PROVIDER: 'anthropic',
      LLM_API_KEY: 'main',
      ANTHROPIC_API_KEY: 'other',
      OPENAI_API_KEY: 'o',
      FALLBACK_MODEL: 'gpt-4o',
      LIGHT_MODEL: 'claude-haiku-4-5',
    });
    expect(model.api_keys).toEqual({ anthropic: 'main', openai: 'o' });
    expect(model).toMatchObject({
      fallback_model: 'gpt-4o',
      light_model: 'claude-haiku-4-5',
      planner_model: undefined,
    });
  });

  it('warns when it falls back to demo', () => {
    expect(parse({}).warnings.join()).toContain('demo');
    expect(parse({ LLM_PROVIDER: 'demo' }).warnings).toEqual([]);
  });

  it.each([
    [{ ANTHROPIC_API_KEY: 'sk-x' }, ['LLM_PROVIDER=anthropic', 'ANTHROPIC_API_KEY']],
    [{ LLM_PROVIDER: 'gemini', OPENAI_API_KEY: 'sk-x' }, ['LLM_PROVIDER=openai', 'OPENAI_API_KEY']],
    [{ NODE_ENV: 'production' }, ['LLM_API_KEY']],
    [{ NODE_ENV: 'production', LLM_PROVIDER: 'demo' }, ['LLM_PROVIDER']],
  ])('refuses %j and says what to set', (environment, named) => {
    const message = refusal({ ...key, ...environment });
    for (const name of named) expect(message).toContain(name);
    expect(message).not.toContain('sk-x');
  });
});

it('knows the secrets of its environment, whoever they are for', () => {
  const { secrets } = parse({
    LLM_API_KEY: 'provider',
    GITHUB_TOKEN: 'ghp',
    AD_ENCRYPTION_KEY: 'first,second',
    DB_PASSWORD: 'pw',
    LLM_BASE_URL: 'https://user:p%40ss@gateway.example/v1',
    SSH_KEY: '/home/somebody/.ssh/id',
    TURN_MAX_TOKENS: '4000',
    KEYBOARD: 'qwertz',
  });
  expect(secrets.sort()).toEqual(['first', 'ghp', 'k', 'p%40ss', 'p@ss', 'provider', 'pw', 'second']);
});

describe('a configuration that is not usable', () => {
  it('is refused with every problem at once, each by its name', () => {
    const message = refusal({
      ENGINE_KEY_HASH: 'ABC',
      ENGINE_PORT: '70000',
      MAX_TOKENS: '1e3',
      LLM_PROVIDER: 'clippy',
      LLM_BASE_URL: 'localhost',
      TURN_TIMEOUT_S: '-1',
      ENGINE_EPOCH: '0',
      ALLOWED_ROOTS: 'relative',
      ALLOWED_PRIVATE_HOSTS: 'https://wiki.corp',
    });
    for (const name of [
      'ENGINE_KEY_HASH',
      'ENGINE_PORT',
      'MAX_TOKENS',
      'LLM_PROVIDER',
      'LLM_BASE_URL',
      'TURN_TIMEOUT_S',
      'ENGINE_EPOCH',
      'ALLOWED_ROOTS',
      'ALLOWED_PRIVATE_HOSTS',
    ]) {
      expect(message).toContain(`${name}: `);
    }
  });

  it('without a key, or with overlaps the wrong way round', () => {
    expect(refusal({})).toContain('ENGINE_KEY_HASH');
    const overlaps = { BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS: '400' };
    expect(refusal({ ...key, ...overlaps })).toContain('BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS');
  });
});

describe('secrets from files', () => {
  const folder = temporaryFolder();
  function fileOf(name: string, text: string): string {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  }
  const hash = 'a'.repeat(64);

  it('are taken for all variables that hold one, and nothing shown may contain them', () => {
    const variables = ENGINE_SECRETS.map((name) => [
      `${name}_FILE`,
      fileOf(name, `${name === 'ENGINE_KEY_HASH' ? hash : `from-${name}`}\n`),
    ]);
    const config = parseConfig({ LLM_PROVIDER: 'gemini', ...Object.fromEntries(variables) }, '/cwd');
    expect(config.key.hash).toBe(hash);
    expect(config.model.api_keys).toEqual({
      anthropic: 'from-ANTHROPIC_API_KEY',
      openai: 'from-OPENAI_API_KEY',
      gemini: 'from-LLM_API_KEY',
    });
    expect(config.search.brave?.api_key).toBe('from-BRAVE_API_KEY');
    expect(config.search.tavily?.api_key).toBe('from-TAVILY_API_KEY');
    const values = ENGINE_SECRETS.map((name) => (name === 'ENGINE_KEY_HASH' ? hash : `from-${name}`));
    expect(config.secrets.sort()).toEqual(values.sort());
  });

  it('may be named from the working folder, and end in any line breaks', () => {
    fileOf('relative', 'secret\r\n\n');
    const { secrets } = parseConfig({ ...key, LLM_API_KEY_FILE: 'relative' }, folder);
    expect(secrets).toContain('secret');
  });

  it.each([
    [
      'both set',
      { ENGINE_API_KEY_FILE: fileOf('good', 'x') },
      'ENGINE_API_KEY_FILE and ENGINE_API_KEY are both set',
    ],
    ['missing', { LLM_API_KEY_FILE: join(folder, 'absent') }, 'absent, which cannot be read (ENOENT)'],
    ['a folder', { LLM_API_KEY_FILE: folder }, 'which cannot be read (EISDIR)'],
    ['empty', { LLM_API_KEY_FILE: fileOf('empty', '\n') }, 'empty, which is empty'],
    ['too long', { LLM_API_KEY_FILE: fileOf('long', 'x'.repeat(16_385)) }, 'more than 16384 characters'],
  ])('are refused: %s', (_, environment, words) => {
    const message = refusal({ ...key, ...environment });
    expect(message).toContain(words);
    expect(message).toContain(Object.keys(environment)[0]);
  });

  it('are refused where commands could read them, whatever way the file is named', () => {
    const root = join(folder, 'workspace');
    mkdirSync(root);
    const inside = fileOf('workspace/key', 'x');
    const link = join(folder, 'link');
    symlinkSync(inside, link);
    for (const file of [inside, link]) {
      const own = { ...key, SQLITE_DB_PATH: join(folder, 'brain.sqlite'), LLM_API_KEY_FILE: file };
      expect(refusal(own)).toContain(`LLM_API_KEY_FILE names ${file}, which lies in ALLOWED_ROOTS`);
      expect(refusal({ ...key, ALLOWED_ROOTS: `/srv,${root}`, LLM_API_KEY_FILE: file })).toContain(
        'ALLOWED_ROOTS',
      );
    }
    expect(parse({ ALLOWED_ROOTS: '/srv', LLM_API_KEY_FILE: inside }).secrets).toContain('x');
  });
});

it('has the documented defaults', () => {
  expect(parse({})).toMatchObject({
    key: { min_overlap_s: 0, max_overlap_s: 300 },
    brain_path: '/data/brain.sqlite',
    roots: { paths: ['/data/workspace'], own: true },
    default_agent: 'assistant',
    max_iterations: 50,
    turn_timeout_s: 1800,
    tool_concurrency: 10,
    replay_ttl_s: 10_800,
    host: '127.0.0.1',
    port: 8000,
    log_level: 'INFO',
    epoch: undefined,
    model: { max_tokens: 4096 },
  });
});

it('documents every variable', () => {
  for (const [name, schema] of Object.entries(Variables.shape))
    expect(schema.description, name).toMatch(/\.$/);
});
