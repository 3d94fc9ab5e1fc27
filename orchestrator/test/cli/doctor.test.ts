/** The commands that work beside the orchestrator: doctor, migrate, repair-epochs; and the look before a start. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { refuseUnfit } from '../../src/checks/examine.ts';
import type { Finding } from '../../src/checks/finding.ts';
import { loadConfig } from '../../src/config.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { bapEngine } from './command_line.ts';

/** The environment of a production start that could succeed; its folder is removed. */
async function production(overrides: Record<string, string> = {}) {
  const env = await testEnvironment({
    NODE_ENV: 'production',
    ORCH_ENGINE_BACKEND: 'subprocess',
    ...overrides,
  });
  if (overrides.ORCH_DATA_DIR === undefined) {
    onTestFinished(() => rm(env.ORCH_DATA_DIR, { recursive: true, force: true }));
  }
  return { ORCH_URL: 'http://127.0.0.1:1', ...env };
}

async function examined(env: Record<string, string>) {
  const { exit, out } = await bapEngine(['doctor', '--json'], { env });
  const { findings } = JSON.parse(out) as { findings: Finding[] };
  const of = (check: Finding['check']) => findings.filter((finding) => finding.check === check);
  return { exit, out, findings, of };
}

describe('doctor', () => {
  it('finds everything in order around an orchestrator that runs, and changes nothing', async () => {
    const env = await production();
    const o = await startTestOrchestrator(env);
    const { call } = await o.product();
    await call('POST', '/engines/ada/admit', { body: { auto_provision: true } });
    const { exit, findings } = await examined({ ...env, ORCH_URL: o.url });
    expect(findings.filter(({ verdict }) => verdict !== 'ok')).toEqual([]);
    expect(exit).toBe(0);
    const checks = [
      'configuration',
      'node',
      'data folder',
      'catalog',
      'database',
      'master key',
      'ports',
      'epochs',
      'orchestrator',
    ];
    expect(new Set(findings.map(({ check }) => check))).toEqual(new Set(checks));
    const { out } = await bapEngine(['doctor'], { env: { ...env, ORCH_URL: o.url } });
    expect(out).toMatch(/0 problems, 0 warnings\n$/);
  });

  it('lists every problem of the configuration at once', async () => {
    const { exit, of } = await examined({
      NODE_ENV: 'production',
      ORCH_ADMIN_KEY: 'short',
      ORCH_PORT: 'x',
      ORCH_ENGINE_BACKEND: 'unknown',
    });
    expect(exit).toBe(1);
    const found = of('configuration').map((finding) => finding.found);
    for (const name of [
      'ORCH_DATABASE_URL',
      'ORCH_MASTER_KEY',
      'ORCH_ADMIN_KEY',
      'ORCH_PORT',
      'ORCH_ENGINE_BACKEND',
    ]) {
      expect(found).toContainEqual(expect.stringContaining(name));
    }
  });

  it('an empty database is a warning that names migrate; migrate mends it', async () => {
    const env = await production();
    const before = await examined(env);
    expect(before.exit).toBe(0);
    expect(before.of('database')).toContainEqual(
      expect.objectContaining({ verdict: 'warning', advice: expect.stringContaining('bap-engine migrate') }),
    );
    const migrated = await bapEngine(['migrate', '--json'], { env });
    expect(JSON.parse(migrated.out).applied).toContain('0001_foundation.sql');
    expect(JSON.parse((await bapEngine(['migrate', '--json'], { env })).out)).toEqual({ applied: [] });
    expect((await examined(env)).findings.filter(({ verdict }) => verdict !== 'ok')).toEqual([
      expect.objectContaining({ check: 'orchestrator', verdict: 'warning' }),
    ]);
  });

  it('a database that cannot be reached, in words and without its password', async () => {
    const { exit, of, out } = await examined(
      await production({ ORCH_DATABASE_URL: 'postgresql://u:hush@127.0.0.1:1/x' }),
    );
    expect(exit).toBe(1);
    expect(of('database')).toEqual([
      expect.objectContaining({ verdict: 'problem', found: expect.stringContaining('ECONNREFUSED') }),
    ]);
    expect(out).not.toContain('hush');
  });

  it('a database that is not there, a password that is wrong', async () => {
    const env = await production();
    const missing = new URL(env.ORCH_DATABASE_URL);
    missing.pathname = '/missing';
    const wrong = new URL(env.ORCH_DATABASE_URL);
    wrong.password = 'wrong';
    expect((await examined({ ...env, ORCH_DATABASE_URL: missing.href })).of('database')).toMatchObject([
      { verdict: 'problem', advice: expect.stringContaining('Create the database') },
    ]);
    expect((await examined({ ...env, ORCH_DATABASE_URL: wrong.href })).of('database')).toMatchObject([
      { verdict: 'problem', advice: expect.stringContaining('password') },
    ]);
  });

  it('a data folder and a catalog that cannot be used', async () => {
    const { exit, of } = await examined(
      await production({ ORCH_DATA_DIR: '/dev/null/data', ORCH_CATALOG_MOUNT_PATH: '/nowhere' }),
    );
    expect(exit).toBe(1);
    expect(of('data folder')).toMatchObject([
      { verdict: 'problem', advice: expect.stringContaining('ORCH_DATA_DIR') },
    ]);
    expect(of('catalog')).toMatchObject([
      { verdict: 'problem', advice: expect.stringContaining('ORCH_CATALOG_MOUNT_PATH') },
    ]);
  });

  it('engine keys that another master key has sealed', async () => {
    const env = await production();
    const o = await startTestOrchestrator(env);
    await (await o.product()).call('POST', '/engines/ada/admit', { body: { auto_provision: true } });
    const other = Buffer.alloc(32, 9).toString('base64url');
    const lost = await examined({ ...env, ORCH_MASTER_KEY: other });
    expect(lost.of('master key')).toMatchObject([
      { verdict: 'problem', found: expect.stringContaining('1 of 1') },
    ]);
    const both = await examined({ ...env, ORCH_MASTER_KEY: `${other},${env.ORCH_MASTER_KEY}` });
    expect(both.of('master key')).toMatchObject([{ verdict: 'ok' }]);
  });

  it('ports: how many are left, and who else is there', async () => {
    const squatter = createServer().listen(0, '127.0.0.1');
    await once(squatter, 'listening');
    onTestFinished(() => void squatter.close());
    const address = squatter.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    const env = await production({ ORCH_PORT_MIN: String(port), ORCH_PORT_MAX: String(port) });
    await bapEngine(['migrate'], { env });
    expect((await examined(env)).of('ports')).toMatchObject([
      { verdict: 'warning', found: expect.stringMatching(/1 of 1 ports .* Other programs listen on 1/) },
    ]);
  });
});

describe('a database that was restored from a backup', () => {
  it('is found by doctor, refused to boot, and mended by repair-epochs', async () => {
    const env = await production();
    const o = await startTestOrchestrator(env);
    const { call } = await o.product();
    const { engine } = (await call('POST', '/engines/ada/admit', { body: { auto_provision: true } })).body;
    await call('POST', '/engines/ada/stop');
    await call('POST', '/engines/ada/start');
    await call('POST', '/engines/ada/stop');
    await o.orchestrator.db.query('UPDATE engines SET epoch = 1 WHERE id = $1', [engine.engine_id]);
    await mkdir(join(env.ORCH_DATA_DIR, 'engines', randomUUID()));
    await writeFile(join(env.ORCH_DATA_DIR, 'engines', 'note.txt'), 'no engine');

    const ill = await examined(env);
    expect(ill.exit).toBe(1);
    expect(ill.of('epochs')).toMatchObject([
      {
        found: expect.stringContaining(engine.engine_id),
        advice: expect.stringContaining('bap-engine repair-epochs --yes'),
      },
    ]);
    expect(await bapEngine(['repair-epochs'], { env })).toMatchObject({
      exit: 2,
      err: expect.stringContaining('--yes'),
    });

    const repaired = await bapEngine(['repair-epochs', '--yes', '--json'], { env });
    expect(repaired.exit).toBe(0);
    const { engines } = JSON.parse(repaired.out);
    expect(engines).toEqual([{ engine_id: engine.engine_id, epoch: 1, seen: expect.any(Number) }]);
    expect((await examined(env)).of('epochs')).toMatchObject([{ verdict: 'ok' }]);
    expect((await call('POST', '/engines/ada/start')).status).toBe(200);
    const rows = await o.orchestrator.db.query<{ metadata: object }>(
      "SELECT metadata FROM audit_log WHERE action = 'epoch_repaired'",
    );
    expect(rows).toEqual([{ metadata: { from: 1, to: engines[0].seen } }]);
    expect((await bapEngine(['repair-epochs'], { env })).out).toBe('No epoch is behind.\n');
  });
});

describe('rotate-master-key', () => {
  it('seals every engine key anew, so that the old key can go; says which are missing', async () => {
    const env = await production();
    const o = await startTestOrchestrator(env);
    const { call } = await o.product();
    await call('POST', '/engines/ada/admit', { body: { auto_provision: true } });
    const key = Buffer.alloc(32, 9).toString('base64url');
    const missing = await bapEngine(['rotate-master-key', '--json'], {
      env: { ...env, ORCH_MASTER_KEY: key },
    });
    expect(missing.exit).toBe(1);
    expect(JSON.parse(missing.out).error).toMatchObject({
      code: 'MISSING_MASTER_KEY',
      details: { engines: 1, engine_ids: [expect.any(String)] },
    });
    const both = { ...env, ORCH_MASTER_KEY: `${key},${env.ORCH_MASTER_KEY}` };
    const rotated = await bapEngine(['rotate-master-key', '--json'], { env: both });
    expect(rotated.exit).toBe(0);
    expect(JSON.parse(rotated.out)).toMatchObject({ engines: 1 });
    expect((await bapEngine(['rotate-master-key'], { env: both })).out).toMatch(
      /^Sealed anew: 0 engine keys/,
    );
    expect((await examined({ ...env, ORCH_MASTER_KEY: key })).of('master key')).toMatchObject([
      { verdict: 'ok' },
    ]);
  });
});

describe('audit verify', () => {
  it('is content with what was written, and names the row that was altered', async () => {
    const env = await production();
    const o = await startTestOrchestrator(env);
    const { id } = await o.product();
    expect((await bapEngine(['audit', 'verify', '--json'], { env })).exit).toBe(0);
    const [row] = await o.orchestrator.db.query<{ id: string }>(
      "UPDATE audit_log SET actor = 'nobody' WHERE product_id = $1 RETURNING id",
      [id],
    );
    const { exit, out } = await bapEngine(['audit', 'verify', '--json', `--product=${id}`], { env });
    expect(exit).toBe(1);
    expect(JSON.parse(out).broken).toEqual([
      expect.objectContaining({ product_id: id, id: Number(row?.id), fault: 'altered' }),
    ]);
    expect(await bapEngine(['audit', 'verify', '--product=slug'], { env })).toMatchObject({ exit: 2 });
  });
});

describe('a start in production', () => {
  it('is refused with all that is missing at once', async () => {
    const env = await production({
      ORCH_DATABASE_URL: 'postgresql://u:hush@127.0.0.1:1/x',
      ORCH_DATA_DIR: '/dev/null/data',
      ORCH_CATALOG_MOUNT_PATH: '/nowhere',
    });
    const refusal = await refuseUnfit(loadConfig(env, '/')).catch((error: Error) => error.message);
    expect(refusal).toMatch(/^The orchestrator cannot start:\n/);
    for (const word of ['ORCH_DATA_DIR', 'ORCH_CATALOG_MOUNT_PATH', 'ORCH_DATABASE_URL'])
      expect(refusal).toContain(word);
    expect(refusal).not.toContain('hush');
  });

  it('goes on where nothing is', async () => {
    await refuseUnfit(loadConfig(await production(), '/'));
  });
});
