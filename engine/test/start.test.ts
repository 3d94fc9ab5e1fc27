import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { EngineExit } from '@september/contract';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../src/config.ts';
import { environment, MAIN, refusedStart, startEngine, temporaryFolder } from './support/engine.ts';
import { all, errorOf, execute, outline, textOf, turn } from './support/stream.ts';

const { migrations_dir, catalog_dir } = parseConfig(environment('/nowhere'), '/nowhere');

describe('an Engine that cannot start says why in one line, with its own exit code', () => {
  it('configuration', async () => {
    const { code, last } = await refusedStart(temporaryFolder(), {
      LLM_PROVIDER: 'clippy',
      ENGINE_LOG_LEVEL: 'LOUD',
    });
    expect(code).toBe(EngineExit.BAD_CONFIG);
    expect(last?.level).toBe('ERROR');
    expect(last?.message).toContain('LLM_PROVIDER');
    expect(last?.message).toContain('ENGINE_LOG_LEVEL');
  });

  it('port taken', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = typeof address === 'object' ? String(address?.port) : '';
    const folder = temporaryFolder();
    const { code, last } = await refusedStart(folder, { ENGINE_PORT: port });
    other.close();
    expect(code).toBe(EngineExit.PORT_TAKEN);
    expect(last?.message).toContain(port);
    expect(existsSync(join(folder, 'brain.sqlite'))).toBe(false);
  });

  it('an address that is not ours', async () => {
    const { code, last } = await refusedStart(temporaryFolder(), { ENGINE_HOST: '203.0.113.7' });
    expect(code).toBe(EngineExit.BAD_CONFIG);
    expect(last?.message).toContain('ENGINE_HOST');
  });

  it('a folder that cannot be made', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'file'), '');
    const { code, last } = await refusedStart(folder, {
      SQLITE_DB_PATH: join(folder, 'file', 'brain.sqlite'),
    });
    expect(code).toBe(EngineExit.BAD_CONFIG);
    expect(last?.message).toContain('SQLITE_DB_PATH');
  });

  it('a brain that is no brain', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'brain.sqlite'), 'Dear diary, '.repeat(1000));
    const { code, last } = await refusedStart(folder, {});
    expect(code).toBe(EngineExit.BAD_CONFIG);
    expect(last?.message).toContain('SQLITE_DB_PATH');
    expect(readFileSync(join(folder, 'brain.sqlite'), 'utf8')).toMatch(/^Dear diary/);
  });

  it('migrations that are not there', async () => {
    const { code, last } = await refusedStart(temporaryFolder(), { MIGRATIONS_DIR: '/no/such/folder' });
    expect(code).toBe(EngineExit.BAD_CONFIG);
    expect(last?.message).toContain('MIGRATIONS_DIR');
  });

  it('a root that is not there, or not absolute', async () => {
    const { code, last } = await refusedStart(temporaryFolder(), { ALLOWED_ROOTS: '/no/such/folder' });
    expect(code).toBe(EngineExit.BAD_CONFIG);
    expect(last?.message).toContain('/no/such/folder');
    expect((await refusedStart(temporaryFolder(), { ALLOWED_ROOTS: 'here' })).last?.message).toContain(
      'ALLOWED_ROOTS',
    );
  });

  it.each([
    ['agent.json that is no JSON', 'agents/assistant/agent.json', '{', 'agent.json'],
    ['an unknown tool', 'agents/assistant/agent.json', agent({ tools: ['teleport'] }), 'teleport'],
    ['a misspelt field', 'agents/assistant/agent.json', agent({ tols: [] }), 'tols'],
    ['another name than its folder', 'agents/assistant/agent.json', agent({ name: 'other' }), 'assistant'],
    [
      'a prompt that is not there',
      'agents/assistant/agent.json',
      agent({ system_prompt_path: 'x.md' }),
      'x.md',
    ],
    [
      'a model without a window',
      'models.json',
      '{"noted_on":"2026-01-01","sources":[],"models":[{}]}',
      'context_window',
    ],
    ['a soul without identity', 'core_soul.json', '{"version":1,"values":[],"patterns":[]}', 'identity'],
  ])('a broken catalog: %s', async (_, file, content, named) => {
    const folder = temporaryFolder();
    cpSync(catalog_dir, join(folder, 'catalog'), { recursive: true });
    writeFileSync(join(folder, 'catalog', file), content);
    const { code, last } = await refusedStart(folder, { CATALOG_DIR: join(folder, 'catalog') });
    expect(code).toBe(EngineExit.BAD_CONFIG);
    expect(last?.message).toContain(named);
  });

  it('a default agent that is not in the catalog', async () => {
    const { code, last } = await refusedStart(temporaryFolder(), { ENGINE_DEFAULT_AGENT: 'butler' });
    expect(code).toBe(EngineExit.BAD_CONFIG);
    expect(last?.message).toContain('butler');
  });
});

function agent(change: Record<string, unknown>): string {
  return JSON.stringify({
    name: 'assistant',
    description: '',
    tools: ['read_file'],
    system_prompt_path: 'system-prompt.md',
    ...change,
  });
}

describe('one process per brain', () => {
  it('turns a second one away, and lets it in when the first was killed', async () => {
    const folder = temporaryFolder();
    const first = await startEngine(folder);
    const { code, last } = await refusedStart(folder, {});
    expect(code).toBe(EngineExit.BRAIN_LOCKED);
    expect(last?.message).toContain('brain.sqlite');
    expect((await fetch(`${first.url}/health`)).status).toBe(200);

    await first.stop('SIGKILL');
    const second = await startEngine(folder);
    await second.stop();
  });

  it('waits for one that is leaving', async () => {
    const folder = temporaryFolder();
    const first = await startEngine(folder);
    const [second] = await Promise.all([startEngine(folder), first.stop()]);
    await second.stop();
  });
});

describe('the fence', () => {
  it('turns a stale epoch away before anything has changed', async () => {
    const folder = temporaryFolder();
    const newer = await startEngine(folder, { ENGINE_EPOCH: '7' });
    await newer.stop();
    const brain = join(folder, 'brain.sqlite');
    const before = readFileSync(brain);

    const stale = await refusedStart(folder, { ENGINE_EPOCH: '6', ENGINE_API_KEY: 'another' });
    expect(stale.code).toBe(EngineExit.STALE_EPOCH);
    expect(stale.last?.message).toContain('7');
    expect(readFileSync(brain).equals(before)).toBe(true);

    for (const epoch of ['7', '8']) {
      const engine = await startEngine(folder, { ENGINE_EPOCH: epoch });
      await engine.stop();
    }
    expect((await refusedStart(folder, { ENGINE_EPOCH: '7' })).code).toBe(EngineExit.STALE_EPOCH);
    const unfenced = await startEngine(folder);
    await unfenced.stop();
    expect((await refusedStart(folder, { ENGINE_EPOCH: '7' })).code).toBe(EngineExit.STALE_EPOCH);
  });
});

describe('migrations', () => {
  it('serves only /health for a brain of a newer Engine, and leaves it alone', async () => {
    const folder = temporaryFolder();
    await (await startEngine(folder)).stop();
    const db = new DatabaseSync(join(folder, 'brain.sqlite'));
    db.exec("INSERT INTO schema_migrations VALUES (9999, '9999_future.sql', 0)");
    db.close();
    await expectMigrationRequired(folder, {});
  });

  it('leaves a brain as it was when a migration fails', async () => {
    const folder = temporaryFolder();
    const migrations = join(folder, 'migrations');
    cpSync(migrations_dir, migrations, { recursive: true });
    await (await startEngine(folder, { MIGRATIONS_DIR: migrations })).stop();
    writeFileSync(
      join(migrations, '0005_half.sql'),
      'CREATE TABLE half (a INTEGER) STRICT; CREATE NONSENSE;',
    );
    await expectMigrationRequired(folder, { MIGRATIONS_DIR: migrations });
    const db = new DatabaseSync(join(folder, 'brain.sqlite'));
    expect(db.prepare("SELECT name FROM sqlite_schema WHERE name = 'half'").get()).toBeUndefined();
    db.close();
    rmSync(join(migrations, '0005_half.sql'));
    await (await startEngine(folder, { MIGRATIONS_DIR: migrations })).stop();
  });

  async function expectMigrationRequired(folder: string, extra: Record<string, string>) {
    const engine = await startEngine(folder, { ...extra, ENGINE_PORT: '0' }, 'Serving only /health');
    const health = await fetch(`${engine.url}/health`);
    expect(health.status).toBe(503);
    expect(await health.json()).toMatchObject({ status: 'error', subsystems: { database: 'error' } });
    const answer = await engine.fetch('/execute', { method: 'POST' });
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ error: 'MIGRATION_REQUIRED' });
    expect(await engine.stop()).toBe(0);
  }
});

describe('a running Engine', () => {
  it('says database error when its brain is taken away', async () => {
    const folder = temporaryFolder();
    const engine = await startEngine(folder);
    rmSync(join(folder, 'brain.sqlite'));
    const health = await fetch(`${engine.url}/health`);
    expect(health.status).toBe(503);
    expect(await health.json()).toMatchObject({ status: 'error', subsystems: { database: 'error' } });
    await engine.stop();
  });

  it.runIf(process.platform === 'linux')(
    'survives a full disk, says so, and is well again when there is room',
    async () => {
      // A limit on the size of files is a disk as small as we like. Ignoring SIGXFSZ turns it into a failed
      // write.
      const folder = temporaryFolder();
      const command = ['bash', '-c', 'trap "" XFSZ; ulimit -S -f 1500; exec "$0" "$@"', process.execPath];
      const engine = await startEngine(folder, {}, 'Ready', command);
      expect(outline(await turn(engine, 'before', '2 + 2')).at(-1)).toBe('thread_lifecycle completed');
      const outcomes: string[] = [];
      // Smaller and smaller ones, until not even the smallest write fits.
      const isWell = async () => (await fetch(`${engine.url}/health`)).status === 200;
      for (const size of [100_000, 10_000, 1_000, 100]) {
        for (let misses = 0; misses < 2 && (await isWell()); ) {
          const task_id = `full-${outcomes.length}`;
          const answer = await execute(engine, { task_id, message: 'x'.repeat(size) });
          const outcome = answer.ok ? (outline(await all(answer)).at(-1) ?? 'cut') : await errorOf(answer);
          if (outcome !== 'thread_lifecycle completed') misses += 1;
          outcomes.push(outcome);
        }
      }
      expect(outcomes.at(-1)).not.toBe('thread_lifecycle completed');
      const refused = await execute(engine, { task_id: 'refused', message: 'x'.repeat(100_000) });
      expect(await errorOf(refused)).toBe('INTERNAL_ERROR');
      const ill = await fetch(`${engine.url}/health`);
      expect(ill.status).toBe(503);
      expect(await ill.json()).toMatchObject({ subsystems: { database: 'error' } });

      execFileSync('prlimit', ['--pid', String(engine.process.pid), '--fsize=unlimited']);
      expect((await fetch(`${engine.url}/health`)).status).toBe(200);
      for (let message = 0; message < outcomes.length; message++) {
        // A turn that the disk had cut goes on.
        const left = await engine.fetch(`/execute/replay?after=0&follow=true&task_id=full-${message}`);
        if (left.ok) expect(outline(await all(left)).at(-1)).toMatch(/^(thread_lifecycle completed|error)$/);
        else expect(await errorOf(left)).toBe('TASK_NOT_FOUND');
        expect(textOf(await turn(engine, `full-${message}`, '2 + 2'))).toContain('4');
      }
      expect(await engine.stop()).toBe(0);
    },
  );

  it('lives on when nobody reads its output any more', async () => {
    const folder = temporaryFolder();
    const engine = await startEngine(folder);
    engine.process.stdout?.destroy();
    expect(textOf(await turn(engine, 'alone', '2 + 2'))).toContain('4');
    expect(textOf(await turn(engine, 'alone', '3 + 3'))).toContain('6');
    expect(await engine.stop()).toBe(0);
  });

  it('keeps what it compiled for the next start at once, not when it ends: it may be killed', async () => {
    const cache = temporaryFolder();
    const engine = await startEngine(temporaryFolder(), { NODE_COMPILE_CACHE: cache });
    const kept = () => readdirSync(cache, { recursive: true }).length;
    await expect.poll(kept, { timeout: 20_000 }).toBeGreaterThan(100);
    expect(engine.process.exitCode).toBeNull();
    await engine.stop();
  });

  it('reads .env in development, under the environment, and not in production', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'elsewhere'));
    writeFileSync(join(folder, '.env'), 'ENGINE_DEFAULT_AGENT=butler\nLLM_PROVIDER=clippy\n');
    const { last } = await refusedStart(folder, {});
    expect(last?.message).toContain('butler');
    expect(last?.message).not.toContain('clippy');
    const production = await refusedStart(folder, { NODE_ENV: 'production' });
    expect(production.last?.message).toContain('demo');
    expect(production.last?.message).not.toContain('butler');
  });

  it('tells an old Node what is needed', async () => {
    // The check is the first thing that runs; an older Node cannot be had here, but its version can be told.
    const child = spawn(process.execPath, [
      '--import',
      'data:text/javascript,Object.defineProperty(process.versions,"node",{value:"22.18.0"})',
      MAIN,
    ]);
    let said = '';
    child.stderr.on('data', (data) => {
      said += data;
    });
    await once(child, 'close');
    expect(child.exitCode).toBe(EngineExit.BAD_CONFIG);
    expect(said).toContain('Node 24');
  });
});
