/** The commands that speak HTTP, against a real orchestrator. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { ADMIN, startTestOrchestrator, type TestOrchestrator } from '../support/orchestrator.ts';
import { bapEngine } from './command_line.ts';

let o: TestOrchestrator;
let env: Record<string, string>;
let demo: Awaited<ReturnType<TestOrchestrator['product']>>;

beforeAll(async () => {
  o = await startTestOrchestrator(undefined, { outliveTest: true });
  env = { NODE_ENV: 'production', ORCH_URL: o.url, ORCH_ADMIN_KEY: ADMIN };
  demo = await o.product({ max_engines: 5 }, 'demo');
  await demo.call('POST', '/engines/ada/admit', { body: { auto_provision: true } });
  await demo.call('POST', '/engines/bob/admit', { body: { auto_provision: true } });
  await demo.call('POST', '/engines/bob/stop');
});
afterAll(() => o?.end());

const json = async (...argv: string[]) => {
  const { exit, out } = await bapEngine([...argv, '--json'], { env });
  return { exit, body: JSON.parse(out) };
};

describe('engines', () => {
  it('of the whole fleet, of a product by its slug or id, in one state', async () => {
    await o.product({}, 'empty');
    const users = async (...argv: string[]) => {
      const { body } = await json('engines', ...argv);
      return [body.total, ...body.engines.map(({ user_id }: { user_id: string }) => user_id)];
    };
    expect(await users()).toEqual([2, 'ada', 'bob']);
    expect(await users('--product', demo.id)).toEqual([2, 'ada', 'bob']);
    expect(await users('--product=demo', '--status=stopped')).toEqual([1, 'bob']);
    expect(await users('--product=empty')).toEqual([0]);
    expect(await users('--limit=1', '--offset=1')).toEqual([2, 'bob']);
  });

  it('as a table for people, with what may come next; to a pipe the table alone', async () => {
    const onTerminal = await bapEngine(['engines', '--product=demo'], { env, columns: 100 });
    const lines = onTerminal.out.split('\n');
    expect(lines[0]).toMatch(/^USER +STATUS +URL/);
    expect(lines[1]).toMatch(/^ada +running +http/);
    expect(lines[2]).toMatch(/^bob +stopped/);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
    expect(onTerminal.out).toContain('Next\n  bap-engine explain');
    const piped = await bapEngine(['engines', '--product=demo'], { env });
    expect(piped.out).toMatch(/2 of 2\n$/);
    expect(piped.out).not.toContain('\x1b');
  });

  it('a filter that is wrong is refused by the orchestrator, by name', async () => {
    expect(await json('engines', '--status=asleep')).toEqual({
      exit: 1,
      body: {
        error: expect.objectContaining({
          code: 'INVALID_REQUEST',
          details: { issues: [expect.objectContaining({ path: 'query.status' })] },
        }),
      },
    });
    expect(await json('engines', '--product=nobody')).toMatchObject({
      exit: 1,
      body: { error: { code: 'PRODUCT_NOT_FOUND', advice: '`bap-engine products` lists them.' } },
    });
  });
});

describe('one engine, one operation', () => {
  it('is explained', async () => {
    const { body } = await json('explain', 'demo', 'bob');
    expect(body).toMatchObject({ status: 'stopped', user_id: 'bob' });
    const { out } = await bapEngine(['explain', demo.id, 'bob'], { env });
    expect(out).toMatch(/^status +stopped$/m);
    expect(out).toMatch(/^to do +\S/m);
    expect(await json('explain', 'demo', 'nobody')).toMatchObject({
      exit: 1,
      body: { error: { code: 'ENGINE_NOT_FOUND' } },
    });
  });

  it('is shown', async () => {
    const { body: operation } = await demo.call('POST', '/engines/bob/start?wait=false');
    const { body } = await json('operations', operation.id);
    expect(body).toMatchObject({ id: operation.id, kind: 'start' });
    expect((await bapEngine(['operations', operation.id], { env })).out).toMatch(/^kind +start$/m);
    expect(await json('operations', 'none')).toMatchObject({
      body: { error: { code: 'OPERATION_NOT_FOUND' } },
    });
  });
});

describe('products', () => {
  it('are registered, listed, limited, given another key, and deleted', async () => {
    const policy = '{"max_engines":7}';
    const registered = await json('products', 'register', 'shop', '--name=The shop', `--policy=${policy}`);
    expect(registered.exit).toBe(0);
    const { product_id, platform_api_key } = registered.body;

    const { body: list } = await json('products');
    expect(list.products).toContainEqual(
      expect.objectContaining({
        product_id,
        slug: 'shop',
        display_name: 'The shop',
        policy: { max_engines: 7 },
      }),
    );
    expect((await bapEngine(['products', 'list'], { env })).out).toMatch(/^shop +\S+ +The shop/m);

    expect((await json('products', 'policy', 'shop')).body).toEqual({ policy: { max_engines: 7 } });
    expect((await json('products', 'policy', 'shop', '--set={"suspended":true}')).body.policy).toEqual({
      suspended: true,
    });
    expect((await json('products', 'policy', product_id)).body).toEqual({ policy: { suspended: true } });
    expect(await json('products', 'policy', 'shop', '--set={"max_engine":1}')).toMatchObject({
      exit: 1,
      body: { error: { code: 'INVALID_REQUEST' } },
    });

    const status = (key: string) => o.call('GET', '/status', { key }).then((answer) => answer.status);
    const rotated = await json('products', 'rotate-key', 'shop', '--overlap=60');
    expect(rotated.body.platform_api_key).toMatch(/^pk-sept-/);
    expect([await status(platform_api_key), await status(rotated.body.platform_api_key)]).toEqual([200, 200]);
    await json('products', 'rotate-key', 'shop');
    expect(await status(platform_api_key)).toBe(401);

    expect((await json('products', 'delete', 'demo', '--yes')).exit).toBe(1);
    expect((await json('products', 'delete', 'shop', '--yes')).exit).toBe(0);
    expect((await json('products', 'policy', 'shop')).body.error.code).toBe('PRODUCT_NOT_FOUND');
  });

  it('a slug that is taken says so', async () => {
    const { exit, err } = await bapEngine(['products', 'register', 'demo'], { env });
    expect(exit).toBe(1);
    expect(err).toBe('bap-engine: The slug "demo" is taken.\nChoose another slug.\n');
  });
});

describe('audit', () => {
  it('is read with filters, page by page', async () => {
    const { body } = await json('audit', '--product=demo', '--user=bob', '--action=stop');
    expect(body.rows).toEqual([expect.objectContaining({ action: 'stop', user_id: 'bob', actor: 'demo' })]);
    const first = await json('audit', '--product=demo', '--limit=1');
    const second = await json('audit', '--product=demo', '--limit=1', `--cursor=${first.body.next_cursor}`);
    expect(second.body.rows[0].id).not.toBe(first.body.rows[0].id);
    expect((await bapEngine(['audit', '--product=demo'], { env })).out).toMatch(/^\d+ +\S+Z +\w+ +\w+/m);
  });
});

describe('the admin key', () => {
  it('that is wrong is refused; one in a file will do', async () => {
    const wrong = await bapEngine(['engines'], { env: { ...env, ORCH_ADMIN_KEY: 'wrong' } });
    expect(wrong).toMatchObject({ exit: 1, err: expect.stringContaining('X-Admin-Key') });
    const folder = await mkdtemp(join(tmpdir(), 'cli-test-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    await writeFile(join(folder, 'key'), `${ADMIN}\n`);
    const { exit } = await bapEngine(['engines'], {
      env: { ...env, ORCH_ADMIN_KEY: '', ORCH_ADMIN_KEY_FILE: join(folder, 'key') },
    });
    expect(exit).toBe(0);
  });

  it('is found in development, in the folder of npm start, and that is said', async () => {
    const cwd = await mkdtemp(join(tmpdir(), 'cli-test-'));
    onTestFinished(() => rm(cwd, { recursive: true }));
    await writeFile(join(cwd, '.env'), 'ORCH_DATA_DIR=data\n');
    expect(await bapEngine(['engines'], { env: { ORCH_URL: o.url }, cwd })).toMatchObject({ exit: 4 });
    await mkdir(join(cwd, 'data'));
    const secrets = { master_key: 'm', admin_key: ADMIN, demo_platform_key: 'p' };
    await writeFile(join(cwd, 'data', 'secrets.json'), JSON.stringify(secrets));
    const { exit, err } = await bapEngine(['engines'], { env: { ORCH_URL: o.url }, cwd });
    expect([exit, err]).toEqual([0, '(development: admin key from data/secrets.json)\n']);
  });
});

describe('upgrade', () => {
  it('shows the current roll-out, changes it, and fails where it is halted', async () => {
    expect((await bapEngine(['upgrade'], { env })).out).toContain('september-engine:latest');
    const { body } = await json('upgrade', '--image=next', '--percent=25');
    expect(body).toMatchObject({ image: 'next', state: 'canary', percent: 25, running_too: true });
    expect((await bapEngine(['upgrade', '--percent=a quarter'], { env })).exit).toBe(2);
    await o.orchestrator.db.query(
      "UPDATE rollouts SET halted_at = now(), halted_reason = 'a test' WHERE image = 'next'",
    );
    const status = await bapEngine(['upgrade', '--status'], { env });
    expect([status.exit, status.out]).toEqual([1, expect.stringContaining('a test')]);
    expect(await json('upgrade', '--percent=50')).toMatchObject({
      exit: 1,
      body: { error: { code: 'ROLLOUT_HALTED' } },
    });
    expect((await json('upgrade', '--resume')).body.halted).toBe(null);
  });
});
