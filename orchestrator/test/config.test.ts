import { mkdtempSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ConfigError, loadConfig, VARIABLES } from '../src/config.ts';

const given = {
  ORCH_DATABASE_URL: 'postgresql://u:p@db/orchestrator',
  ORCH_MASTER_KEY: Buffer.alloc(32).toString('base64url'),
  ORCH_ADMIN_KEY: 'admin-key-of-at-least-32-characters',
};

function problemsOf(env: Record<string, string>): string[] {
  try {
    loadConfig(env, '/srv/september');
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  throw new Error('no problem was found');
}

/** A folder with these files. */
function folderWith(files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'orch-secrets-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text, { mode: 0o600 });
  return folder;
}

describe('secrets from files', () => {
  it('stand for the variables, without the line break at their end', () => {
    const folder = folderWith({
      url: `${given.ORCH_DATABASE_URL}\n`,
      master: `${given.ORCH_MASTER_KEY}\r\n`,
      admin: ` spaces count ${'x'.repeat(32)} `,
    });
    const config = loadConfig(
      {
        NODE_ENV: 'production',
        ORCH_ENGINE_BACKEND: 'subprocess',
        ORCH_DATABASE_URL_FILE: 'url',
        ORCH_MASTER_KEY_FILE: join(folder, 'master'),
        ORCH_ADMIN_KEY_FILE: 'admin',
      },
      folder,
    );
    expect(config.database_url).toBe(given.ORCH_DATABASE_URL);
    expect(config.admin_key).toBe(` spaces count ${'x'.repeat(32)} `);
    expect(config.master_keys.open(loadConfig(given, '/').master_keys.seal('x'))).toBe('x');
  });

  it('are refused with everything else that is wrong, each with its reason, none with its content', () => {
    const folder = folderWith({ empty: '\n', long: 'x'.repeat(16_385), master: 'hush' });
    const problems = problemsOf({
      ...given,
      NODE_ENV: 'production',
      ORCH_DATABASE_URL: '',
      ORCH_DATABASE_URL_FILE: join(folder, 'absent'),
      ORCH_ADMIN_KEY_FILE: join(folder, 'empty'),
      ORCH_MASTER_KEY: '',
      ORCH_MASTER_KEY_FILE: join(folder, 'master'),
      ORCH_ENGINE_BACKEND: 'subprocess',
      ORCH_PORT: 'eight',
    });
    expect(problems).toEqual([
      `ORCH_DATABASE_URL_FILE names ${folder}/absent, which cannot be read (ENOENT)`,
      'ORCH_ADMIN_KEY_FILE and ORCH_ADMIN_KEY are both set: unset one of them',
      expect.stringMatching(/^ORCH_MASTER_KEY must be a Fernet key/),
      'ORCH_PORT must be a whole number from 0 to 65535',
    ]);
    expect(problems.join()).not.toContain('hush');
    for (const [file, why] of [
      ['empty', 'is empty'],
      ['long', 'has more than 16384 characters'],
      ['.', 'cannot be read (EISDIR)'],
    ]) {
      const env = { ...given, ORCH_ADMIN_KEY: '', ORCH_ADMIN_KEY_FILE: join(folder, file ?? '') };
      expect(problemsOf(env)[0]).toContain(`which ${why}`);
    }
  });
});

describe('the configuration', () => {
  it('has the documented defaults in development', () => {
    const config = loadConfig(given, '/srv/september');
    expect(config).toMatchObject({
      mode: 'development',
      host: '127.0.0.1',
      port: 8000,
      data_dir: '/srv/september/.september',
      log_level: 'info',
      engine_image: 'september-engine:latest',
      port_min: 9001,
      port_max: 29_999,
      boot_timeout_s: 60,
      health: { interval_s: 30, timeout_s: 10, max_failures: 3 },
      restarts: { backoff_base_s: 5, backoff_max_s: 300, max_attempts: 8, reset_after_s: 300 },
      reconcile_interval_s: 20,
      audit_retention_days: 0,
      warm_pool: 0,
    });
    expect(config.catalog_dir).toMatch(/\/catalog$/);
  });

  it('listens everywhere in production, and runs engines on Docker there', () => {
    expect(loadConfig({ ...given, NODE_ENV: 'production' }, '/')).toMatchObject({
      mode: 'production',
      host: '0.0.0.0',
      backend: 'docker',
    });
    expect(loadConfig(given, '/').backend).toBe('subprocess');
  });

  it('reads where containers run and within which limits; the catalog of the image unless one is named', () => {
    expect(loadConfig(given, '/').docker).toEqual({
      host: 'unix:///var/run/docker.sock',
      network: 'engine_net',
      url_mode: 'host',
      memory_mb: 1024,
      cpus: 2,
      pids: 512,
      runtime: '',
      catalog_dir: null,
    });
    const named = {
      ...given,
      DOCKER_HOST: 'tcp://docker.internal:2375',
      ORCH_ENGINE_NETWORK: 'other_net',
      ORCH_ENGINE_URL_MODE: 'network',
      ORCH_ENGINE_MEMORY_MB: '512',
      ORCH_ENGINE_CPUS: '0.5',
      ORCH_ENGINE_PIDS: '100',
      ORCH_ENGINE_RUNTIME: 'runsc',
      ORCH_CATALOG_MOUNT_PATH: 'agents',
    };
    expect(loadConfig(named, '/srv').docker).toEqual({
      host: 'tcp://docker.internal:2375',
      network: 'other_net',
      url_mode: 'network',
      memory_mb: 512,
      cpus: 0.5,
      pids: 100,
      runtime: 'runsc',
      catalog_dir: '/srv/agents',
    });
    const wrong = { DOCKER_HOST: 'ssh://me@there', ORCH_ENGINE_CPUS: '0', ORCH_ENGINE_NETWORK: '-' };
    expect(problemsOf({ ...given, ...wrong }).map((problem) => problem.split(' ')[0])).toEqual([
      'ORCH_ENGINE_NETWORK',
      'ORCH_ENGINE_CPUS',
      'DOCKER_HOST',
    ]);
  });

  it('lists everything that is missing or wrong at once, each with its variable', () => {
    const problems = problemsOf({
      NODE_ENV: 'production',
      ORCH_ENGINE_BACKEND: 'subprocess',
      ORCH_MASTER_KEY: 'not a key',
      ORCH_ADMIN_KEY: '',
      ORCH_PORT: 'eight',
      ORCH_BOOT_TIMEOUT_S: '0',
      ORCH_LOG_LEVEL: 'loud',
      ORCH_ENGINE_ENV_PASSTHROUGH: 'FINE, ORCH_ADMIN_KEY, a-b',
    });
    expect(problems).toEqual([
      'ORCH_DATABASE_URL is required',
      expect.stringMatching(/^ORCH_MASTER_KEY must be a Fernet key/),
      'ORCH_ADMIN_KEY is required',
      'ORCH_PORT must be a whole number from 0 to 65535',
      'ORCH_LOG_LEVEL must be trace, debug, info, warn, error or fatal',
      expect.stringMatching(/^ORCH_ENGINE_ENV_PASSTHROUGH holds `ORCH_ADMIN_KEY`/),
      expect.stringMatching(/^ORCH_ENGINE_ENV_PASSTHROUGH holds `a-b`/),
      'ORCH_BOOT_TIMEOUT_S must be a whole number from 1 to 3600',
    ]);
  });

  it('refuses a short admin key in production, and names it beside all else', () => {
    const short = { ...given, ORCH_ADMIN_KEY: 'a'.repeat(31) };
    expect(loadConfig(short, '/').admin_key).toBe(short.ORCH_ADMIN_KEY);
    const production = { NODE_ENV: 'production', ORCH_ENGINE_BACKEND: 'subprocess' };
    const problem = 'ORCH_ADMIN_KEY must have at least 32 characters in production';
    expect(problemsOf({ ...short, ...production })).toEqual([problem]);
    expect(problemsOf({ ...short, ...production, ORCH_PORT: 'x' })).toEqual([
      'ORCH_PORT must be a whole number from 0 to 65535',
      problem,
    ]);
    expect(loadConfig({ ...given, ...production, ORCH_ADMIN_KEY: 'a'.repeat(32) }, '/').mode).toBe(
      'production',
    );
  });

  it('refuses a range of ports that ends before it begins', () => {
    expect(problemsOf({ ...given, ORCH_PORT_MIN: '9100', ORCH_PORT_MAX: '9099' })).toEqual([
      'ORCH_PORT_MIN must not be above ORCH_PORT_MAX',
    ]);
  });

  it('refuses a warm pool that is too large, or leaves no port', () => {
    expect(problemsOf({ ...given, ORCH_WARM_POOL: '1001' })).toEqual([
      'ORCH_WARM_POOL must be a whole number from 0 to 1000',
    ]);
    const ports = { ORCH_PORT_MIN: '9001', ORCH_PORT_MAX: '9010' };
    expect(loadConfig({ ...given, ...ports, ORCH_WARM_POOL: '9' }, '/').warm_pool).toBe(9);
    expect(problemsOf({ ...given, ...ports, ORCH_WARM_POOL: '10' })).toEqual([
      'ORCH_WARM_POOL must be below the number of ports from ORCH_PORT_MIN to ORCH_PORT_MAX',
    ]);
  });

  it('refuses times that contradict each other', () => {
    expect(
      problemsOf({
        ...given,
        ORCH_HEALTH_CHECK_INTERVAL_S: '10',
        ORCH_HEALTH_CHECK_TIMEOUT_S: '10',
        ORCH_RESTART_BACKOFF_BASE_S: '60',
        ORCH_RESTART_BACKOFF_MAX_S: '30',
      }),
    ).toEqual([
      'ORCH_HEALTH_CHECK_TIMEOUT_S must be below ORCH_HEALTH_CHECK_INTERVAL_S',
      'ORCH_RESTART_BACKOFF_BASE_S must not be above ORCH_RESTART_BACKOFF_MAX_S',
    ]);
  });

  it('hands to engines what is named and the minimum of a process, and never its own variables', () => {
    const env = {
      ...given,
      PATH: '/bin',
      HOME: '/root',
      LLM_API_KEY: 'a',
      LLM_MODEL: 'm',
      OTHER: 'o',
      NODE_COMPILE_CACHE: '/compiled',
    };
    const { engine_environment, process_environment } = loadConfig(env, '/');
    expect(engine_environment).toEqual({ NODE_ENV: 'development', LLM_API_KEY: 'a', LLM_MODEL: 'm' });
    expect(process_environment).toEqual({ PATH: '/bin', NODE_COMPILE_CACHE: '/compiled' });
    const named = { ...env, ORCH_ENGINE_ENV_PASSTHROUGH: 'OTHER, ABSENT' };
    expect(loadConfig(named, '/').engine_environment).toEqual({ NODE_ENV: 'development', OTHER: 'o' });
    const production = { ...env, NODE_ENV: 'production', ORCH_ENGINE_BACKEND: 'subprocess' };
    expect(loadConfig(production, '/').engine_environment).toEqual({ NODE_ENV: 'production' });
  });

  it('never repeats the value of a secret in a problem', () => {
    const problems = problemsOf({
      ...given,
      ORCH_MASTER_KEY: 'hush',
      ORCH_DATABASE_URL: 'mysql://u:hush@db',
    });
    expect(problems).toHaveLength(2);
    expect(problems.join()).not.toContain('hush');
  });

  it('is documented: every variable has a meaning, and a default or none', () => {
    expect(VARIABLES.map(({ name }) => name)).toContain('ORCH_ADMIN_KEY');
    expect(VARIABLES.filter((variable) => variable.default === null).map(({ name }) => name)).toEqual([
      'ORCH_DATABASE_URL',
      'ORCH_MASTER_KEY',
      'ORCH_ADMIN_KEY',
    ]);
    for (const { meaning } of VARIABLES) expect(meaning).toMatch(/\.$/);
  });
});
