/**
 * Every variable of the configuration (bap-engine §12), set on an orchestrator and then seen from outside. A start
 * costs a second, so variables of one theme share one orchestrator and its story, which is told once; each row says
 * what of it shows its variable. A variable without a row here, or a row whose variable is gone, fails the test.
 *
 * Those that only containers show have their rows in backends/docker_settings.docker.ts. Missing are those of traces, which
 * this version does not have.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once as event } from 'node:events';
import { access, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort } from '../../../scripts/free_port.ts';
import { appendAudit } from '../../src/audit/append.ts';
import { VARIABLES } from '../../src/config.ts';
import { parseMasterKeys } from '../../src/keys/master.ts';
import { openDb } from '../../src/registry/db.ts';
import { migrate } from '../../src/registry/migrate.ts';
import { anEntry } from '../support/audit.ts';
import { once } from '../support/once.ts';
import { ADMIN, type Call, MASTER, startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const MAIN = join(import.meta.dirname, '../../src/main.ts');

const ends: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (const end of ends) await end();
}, 60_000);

async function start(env: Record<string, string>) {
  const o = await startTestOrchestrator(env, { outliveTest: true });
  ends.push(o.end);
  const product = await o.product();
  return { o, ...product };
}

const admit = (call: Call) =>
  call('POST', '/engines/ada/admit', { body: { auto_provision: true, auto_wake: true } });

/** Rows of the audit log with this action, newest first. */
const audit = async (call: Call, action: string, admin?: string) =>
  (await call('GET', `/audit?action=${action}`, { admin })).body.rows;

/** What an orchestrator is given from outside, and where what it makes is to be found. */
async function placed(secrets: (env: Record<string, string>) => Promise<Record<string, string>>) {
  const catalog = await mkdtemp(join(tmpdir(), 'orch-catalog-'));
  ends.push(() => rm(catalog, { recursive: true }));
  const env = await testEnvironment({
    ORCH_HOST: '127.0.0.2',
    ORCH_PORT: String(await freePort()),
    ORCH_CATALOG_MOUNT_PATH: catalog,
    ORCH_ENGINE_IMAGE: 'image:of-this-test',
    ORCH_ENGINE_ENV_PASSTHROUGH: 'HANDED_ON',
    ORCH_BOOT_TIMEOUT_S: '33',
    ORCH_ROTATE_OVERLAP_S: '7',
    ORCH_UPGRADE_CANARY_PERCENT: '7',
    ORCH_UPGRADE_PROBATION_S: '77',
    ORCH_SLEEP_MODE: 'hibernate',
    HANDED_ON: 'here it is',
    KEPT: 'not this',
  });
  env.ORCH_PORT_MAX = String(Number(env.ORCH_PORT_MIN) + 1);
  const { o, id, call } = await start(await secrets(env));
  const { engine } = (await admit(call)).body;
  const answer = await fetch(`${engine.url}/anything`, { headers: { 'X-Engine-Key': engine.api_key } });
  const { env: given } = (await answer.json()) as { env: Record<string, string> };
  const begun = await call('POST', '/engines/provision?wait=false', { body: { user_id: 'bob' } });
  await until('bob has an engine', async () => (await call('GET', '/engines/bob')).body.status === 'running');
  const bob = (await call('GET', '/engines/bob')).body;
  const third = await call('POST', '/engines/provision', { body: { user_id: 'cy' } });
  const before = Date.now();
  const { old_key_valid_until } = (await call('POST', '/engines/bob/rotate-key')).body;
  const overlap_ms = [Date.parse(old_key_valid_until) - Date.now(), Date.parse(old_key_valid_until) - before];
  const slept = await call('POST', '/engines/ada/sleep');
  const rollout = await o.call('PUT', '/rollouts/current', { admin: ADMIN, body: { image: 'another' } });
  return { o, env, id, engine, bob, given, catalog, begun, third, overlap_ms, slept, rollout };
}

const direct = once(() => placed(async (env) => env));
const fromFiles = once(() =>
  placed(async (env) => {
    const folder = await mkdtemp(join(tmpdir(), 'orch-secrets-'));
    ends.push(() => rm(folder, { recursive: true }));
    const rest = { ...env };
    for (const name of ['ORCH_DATABASE_URL', 'ORCH_MASTER_KEY', 'ORCH_ADMIN_KEY']) {
      const file = join(folder, name);
      await writeFile(file, `${env[name]}\n`);
      delete rest[name];
      rest[`${name}_FILE`] = file;
    }
    return rest;
  }),
);

/** An engine that stands still, is restarted in vain, comes up again and is steady. */
const ill = once(async () => {
  const { o, call } = await start(
    await testEnvironment({
      ORCH_HEALTH_CHECK_INTERVAL_S: '2',
      ORCH_HEALTH_CHECK_TIMEOUT_S: '1',
      ORCH_HEALTH_MAX_FAILURES: '2',
      ORCH_RESTART_BACKOFF_BASE_S: '50',
      ORCH_RESTART_BACKOFF_MAX_S: '70',
      ORCH_RESTART_MAX_ATTEMPTS: '2',
      ORCH_RESTART_RESET_AFTER_S: '1',
    }),
  );
  const { engine_id } = (await admit(call)).body.engine;
  const explain = async () => (await call('GET', '/engines/ada/explain')).body;
  const probed = async () => {
    const { last_health_at } = (await call('GET', '/engines/ada')).body;
    return await until('it is probed', async () => {
      const { last_health_at: now } = (await call('GET', '/engines/ada')).body;
      return now !== last_health_at && now;
    });
  };
  const probes = [await probed(), await probed(), await probed()].map(Date.parse);
  const signal = async (name: NodeJS.Signals) => process.kill((await o.processOf(engine_id)).pid, name);
  const failed = async () =>
    await until('it has failed', async () => {
      const seen = await explain();
      return seen.status === 'failed' && seen.evidence.operation?.ended_at !== null && seen;
    });

  await signal('SIGSTOP');
  const first = await failed();
  const [found] = await audit(call, 'health_failed');
  await o.engines({ exit_code: 1 });
  await admit(call);
  const second = await failed();
  const [vain] = await audit(call, 'auto_restart_failed');
  await admit(call);
  const third = await failed();
  const [gave_up] = await audit(call, 'auto_restart_gave_up');

  await o.engines({});
  await call('POST', '/engines/ada/start');
  await signal('SIGKILL');
  await failed();
  await admit(call);
  // A restart is counted; what is looked at is whether it is forgotten.
  for (let n = 0; n < 3; n += 1) await probed();
  await signal('SIGKILL');
  const afresh = await failed();
  return { probes, first, found, second, vain, third, gave_up, afresh };
});

/** Things that an orchestrator does by itself as time goes on. */
const byItself = once(async () => {
  const env = await testEnvironment({
    ORCH_IDLE_TIMEOUT_S: '1',
    ORCH_HIBERNATE_AFTER_S: '1',
    ORCH_RECONCILE_INTERVAL_S: '1',
    ORCH_AUDIT_RETENTION_DAYS: '30',
    ORCH_WARM_POOL: '1',
  });
  const db = openDb(env.ORCH_DATABASE_URL, () => {});
  ends.push(() => db.end());
  await migrate(db);
  const days_ago = (days: number) => new Date(Date.now() - days * 86_400_000);
  await appendAudit(db, anEntry(null, { actor: 'long ago', timestamp: days_ago(31) }));
  await appendAudit(db, anEntry(null, { actor: 'not so long ago', timestamp: days_ago(29) }));
  const { o, call } = await start(env);
  await o.engines({ activity: { last_activity_at: '2020-01-01T00:00:00.000Z' } });
  await until('the pool is filled', async () => {
    const rows = await audit(o.call, 'provision', ADMIN);
    return rows.length > 0 && rows[0].metadata.outcome === 'succeeded';
  });
  await admit(call);
  const [provision] = await audit(call, 'provision');
  const sleeps = await until('it has fallen asleep twice', async () => {
    const rows = await audit(call, 'sleep');
    return rows.length === 2 && rows;
  });
  const { sleep_depth } = (await call('GET', '/engines/ada')).body;
  const actors = await until('what is too old is removed', async () => {
    const rows = (await o.call('GET', '/audit?order=asc', { admin: ADMIN })).body.rows;
    const seen = rows.map(({ actor }: { actor: string }) => actor);
    return !seen.includes('long ago') && seen;
  });
  // What reconcile finds, probes and the ends of processes tell too, and sooner; so its turns are looked at.
  const turns = new Set<number>();
  await until('reconcile has come round', async () => {
    const [turn] = await db.query<{ next_at: Date }>("SELECT next_at FROM turns WHERE name = 'reconcile'");
    return turn !== undefined && turns.add(turn.next_at.getTime()).size === 4;
  });
  return { provision, sleeps, sleep_depth, actors, turns: [...turns] };
});

/** The program itself, in production, with these variables beside the ones that it needs. */
async function run(variables: Record<string, string>) {
  const env = await testEnvironment({
    NODE_ENV: 'production',
    ORCH_ENGINE_BACKEND: 'subprocess',
    ORCH_PORT: String(await freePort()),
    ...variables,
  });
  ends.push(() => rm(env.ORCH_DATA_DIR, { recursive: true, force: true }));
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  ends.push(async () => child.kill('SIGKILL'));
  const exited = event(child, 'exit') as Promise<[number | null]>;
  return { child, exited, out: text(child.stdout), err: text(child.stderr), port: env.ORCH_PORT };
}

/** Starts it, asks it, ends it in order; gives its log. */
async function logOf(variables: Record<string, string>): Promise<{ level: number; msg: string }[]> {
  const { child, exited, out, port } = await run(variables);
  await until('it serves', () => serves(child, `http://127.0.0.1:${port}`));
  child.kill('SIGTERM');
  expect((await exited)[0]).toBe(0);
  const lines = (await out).trim();
  return lines === '' ? [] : lines.split('\n').map((line) => JSON.parse(line));
}

async function serves(child: ChildProcess, url: string): Promise<boolean> {
  if (child.exitCode !== null) throw new Error('the orchestrator ended');
  return await fetch(`${url}/health`).then(
    ({ ok }) => ok,
    () => false,
  );
}

async function refusalOf(variables: Record<string, string>): Promise<string> {
  const { exited, err } = await run(variables);
  expect((await exited)[0]).toBe(1);
  return await err;
}

const portOf = (url: string) => new URL(url).port;
const within = (value: number, [low, high]: [number, number]) => {
  expect(value).toBeGreaterThanOrEqual(low);
  expect(value).toBeLessThanOrEqual(high);
};

/** The registry under the database's URL is the orchestrator's: it has the product of its API. */
async function showsDatabase({ id, env }: Awaited<ReturnType<typeof direct>>) {
  const db = openDb(env.ORCH_DATABASE_URL, () => {});
  const rows = await db.query('SELECT id FROM products');
  await db.end();
  expect(rows).toEqual([{ id }]);
}
async function showsMasterKey({ o, engine }: Awaited<ReturnType<typeof direct>>) {
  const [row] = await o.orchestrator.db.query<{ engine_key_enc: string }>(
    "SELECT engine_key_enc FROM engines WHERE user_id = 'ada'",
  );
  expect(parseMasterKeys(MASTER)?.open(row?.engine_key_enc ?? '')).toBe(engine.api_key);
}
async function showsAdminKey({ o }: Awaited<ReturnType<typeof direct>>) {
  expect((await o.call('GET', '/products', { admin: ADMIN })).status).toBe(200);
  expect((await o.call('GET', '/products', { admin: ADMIN.slice(1) })).status).toBe(401);
}

// Side by side; a story that went wrong is told anew by the row that needs it, and fails there.
beforeAll(() => Promise.allSettled([direct(), fromFiles(), ill(), byItself()]), 120_000);

const ROWS: Record<string, () => Promise<unknown>> = {
  NODE_ENV: async () => {
    const refusal = await refusalOf({ ORCH_DATABASE_URL: '', ORCH_MASTER_KEY: '', ORCH_ADMIN_KEY: '' });
    for (const name of ['ORCH_DATABASE_URL', 'ORCH_MASTER_KEY', 'ORCH_ADMIN_KEY']) {
      expect(refusal).toContain(`${name} is required`);
    }
  },
  ORCH_DATABASE_URL: async () => showsDatabase(await direct()),
  ORCH_MASTER_KEY: async () => showsMasterKey(await direct()),
  ORCH_ADMIN_KEY: async () => showsAdminKey(await direct()),
  ORCH_DATABASE_URL_FILE: async () => showsDatabase(await fromFiles()),
  ORCH_MASTER_KEY_FILE: async () => showsMasterKey(await fromFiles()),
  ORCH_ADMIN_KEY_FILE: async () => showsAdminKey(await fromFiles()),
  ORCH_HOST: async () => {
    const { o } = await direct();
    expect(new URL(o.url).hostname).toBe('127.0.0.2');
    await expect(fetch(`http://127.0.0.1:${portOf(o.url)}/health`)).rejects.toThrow();
  },
  ORCH_PORT: async () => {
    const { o, env } = await direct();
    expect(portOf(o.url)).toBe(env.ORCH_PORT);
  },
  ORCH_DATA_DIR: async () => {
    const { env, engine, bob } = await direct();
    const folders = await readdir(join(env.ORCH_DATA_DIR, 'engines'));
    expect(folders).toEqual(expect.arrayContaining([engine.engine_id, bob.engine_id]));
  },
  ORCH_LOG_LEVEL: async () => {
    const [informed, warned] = await Promise.all([logOf({}), logOf({ ORCH_LOG_LEVEL: 'warn' })]);
    expect(informed).toContainEqual(expect.objectContaining({ level: 30, msg: 'orchestrator listens' }));
    expect(warned.filter(({ level }) => level < 40)).toEqual([]);
  },
  ORCH_ENGINE_BACKEND: async () => {
    expect(await refusalOf({ ORCH_ENGINE_BACKEND: 'docker', DOCKER_HOST: 'unix:///nowhere' })).toContain(
      'docker: The Docker daemon does not answer (ENOENT).',
    );
  },
  DOCKER_HOST: async () => {
    const port = await freePort();
    const refusal = await refusalOf({
      ORCH_ENGINE_BACKEND: 'docker',
      DOCKER_HOST: `tcp://127.0.0.1:${port}`,
    });
    expect(refusal).toContain(`(ECONNREFUSED). Is it up, is DOCKER_HOST right (tcp://127.0.0.1:${port})`);
  },
  ORCH_ENGINE_IMAGE: async () => {
    expect((await direct()).engine.engine_version).toBe('image:of-this-test');
  },
  ORCH_ENGINE_ENV_PASSTHROUGH: async () => {
    const { given } = await direct();
    expect([given.HANDED_ON, given.KEPT]).toEqual(['here it is', undefined]);
  },
  ORCH_CATALOG_MOUNT_PATH: async () => {
    const { given, catalog } = await direct();
    expect(given.CATALOG_DIR).toBe(catalog);
    await access(catalog);
  },
  ORCH_PORT_MIN: async () => {
    const { engine, env } = await direct();
    expect(portOf(engine.url)).toBe(env.ORCH_PORT_MIN);
  },
  ORCH_PORT_MAX: async () => {
    const { bob, third, env } = await direct();
    expect(portOf(bob.url)).toBe(env.ORCH_PORT_MAX);
    expect(third.body.error.code).toBe('PORT_EXHAUSTION');
  },
  ORCH_BOOT_TIMEOUT_S: async () => {
    const { created_at, deadline } = (await direct()).begun.body;
    expect(Date.parse(deadline) - Date.parse(created_at)).toBe(33_000);
  },
  ORCH_ROTATE_OVERLAP_S: async () => {
    const [least = 0, most = 0] = (await direct()).overlap_ms;
    within(7_000, [least, most]);
  },
  ORCH_UPGRADE_CANARY_PERCENT: async () => {
    expect((await direct()).rollout.body).toMatchObject({ state: 'canary', percent: 7 });
  },
  ORCH_UPGRADE_PROBATION_S: async () => {
    expect((await direct()).rollout.body.next).toContain('77 s');
  },
  ORCH_SLEEP_MODE: async () => {
    expect((await direct()).slept.body.sleep_depth).toBe('hibernate');
  },
  ORCH_HEALTH_CHECK_INTERVAL_S: async () => {
    const [first = 0, , third = 0] = (await ill()).probes;
    within((third - first) / 1000, [2, 40]);
  },
  ORCH_HEALTH_CHECK_TIMEOUT_S: async () => {
    expect((await ill()).found.metadata.seen).toBe('no answer (TimeoutError)');
  },
  ORCH_HEALTH_MAX_FAILURES: async () => {
    expect((await ill()).found.metadata.ill_probes).toBe(2);
  },
  ORCH_RESTART_BACKOFF_BASE_S: async () => {
    const { first, found } = await ill();
    within((Date.parse(first.next.at) - Date.parse(found.timestamp)) / 1000, [45, 55]);
  },
  ORCH_RESTART_BACKOFF_MAX_S: async () => {
    const { second, vain } = await ill();
    const failed_at = Date.parse(vain.timestamp) + vain.duration_ms;
    // Without the limit it would be 100, less a tenth.
    within((Date.parse(second.next.at) - failed_at) / 1000, [60, 89]);
  },
  ORCH_RESTART_MAX_ATTEMPTS: async () => {
    const { first, second, third, gave_up } = await ill();
    expect([first.next.what, second.next.what]).toEqual(['Restart 1 of 2.', 'Restart 2 of 2.']);
    expect(third.rule).toMatch('All 2 restarts are used up.');
    expect(gave_up.metadata.attempts).toBe(2);
  },
  ORCH_RESTART_RESET_AFTER_S: async () => {
    expect((await ill()).afresh.next.what).toBe('Restart 1 of 2.');
  },
  ORCH_IDLE_TIMEOUT_S: async () => {
    expect((await byItself()).sleeps.at(-1)).toMatchObject({
      actor: 'system',
      metadata: { outcome: 'succeeded' },
    });
  },
  ORCH_HIBERNATE_AFTER_S: async () => {
    expect((await byItself()).sleep_depth).toBe('hibernate');
  },
  ORCH_WARM_POOL: async () => {
    expect((await byItself()).provision.metadata).toMatchObject({ warm: true, outcome: 'succeeded' });
  },
  ORCH_RECONCILE_INTERVAL_S: async () => {
    const [first = 0, , , last = 0] = (await byItself()).turns;
    within((last - first) / 1000, [3, 30]);
  },
  ORCH_AUDIT_RETENTION_DAYS: async () => {
    expect((await byItself()).actors).toContain('not so long ago');
  },
};

const ON_DOCKER = [
  'ORCH_ENGINE_NETWORK',
  'ORCH_ENGINE_URL_MODE',
  'ORCH_ENGINE_MEMORY_MB',
  'ORCH_ENGINE_CPUS',
  'ORCH_ENGINE_PIDS',
  'ORCH_ENGINE_RUNTIME',
];

describe('the variable', () => {
  it.each(Object.entries(ROWS))('%s', async (_, shows) => void (await shows()));

  it('has a row for each variable', () => {
    expect([...Object.keys(ROWS), ...ON_DOCKER].sort()).toEqual(VARIABLES.map(({ name }) => name).sort());
  });
});
