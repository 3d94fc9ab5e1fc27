import { describe, expect, it } from 'vitest';
import { nameOf } from '../../src/cli/command.ts';
import { COMMANDS } from '../../src/cli/commands.ts';
import { bapEngine } from './command_line.ts';

/** A configuration that works until somebody connects. */
const env = { NODE_ENV: 'production', ORCH_ADMIN_KEY: 'k', ORCH_URL: 'http://127.0.0.1:1' };

describe('help', () => {
  it('lists every command, the environment and the exit codes', async () => {
    const { exit, out, err } = await bapEngine(['--help']);
    expect([exit, err]).toEqual([0, '']);
    for (const command of COMMANDS) expect(out).toContain(`${nameOf(command)} `);
    for (const word of ['ORCH_URL', 'ORCH_ADMIN_KEY_FILE', '--json', 'Exit codes'])
      expect(out).toContain(word);
    expect((await bapEngine([])).out).toBe(out);
    expect((await bapEngine(['help'])).out).toBe(out);
  });

  it.each(COMMANDS)('of $words has its options and an example that is understood', async (command) => {
    const { exit, out } = await bapEngine([...command.words, '--help']);
    expect(exit).toBe(0);
    for (const option of Object.keys(command.options)) expect(out).toContain(`--${option}`);
    expect(out).toContain(command.example);
    const words = command.example.replaceAll("'", '').split(' ');
    expect(words.slice(0, 1 + command.words.length)).toEqual(
      ['bap-engine', ...command.words].slice(0, words.length),
    );
  });

  it('of a group shows its commands', async () => {
    const { out } = await bapEngine(['products', '--help']);
    for (const word of ['list', 'register', 'policy', 'rotate-key', 'delete'])
      expect(out).toContain(`products ${word}`);
    expect((await bapEngine(['help', 'products'])).out).toBe(out);
  });
});

describe('what is not understood is refused, with the nearest name', () => {
  it.each([
    [['prodcuts'], 'There is no command `prodcuts`.', 'bap-engine products'],
    [['products', 'registr', 'x'], 'There is no command `products registr`.', 'bap-engine products register'],
    [['engnies', '--product=x'], 'There is no command `engnies`.', 'bap-engine engines'],
    [['xyzzy'], 'There is no command `xyzzy`.', 'bap-engine --help'],
    [['engines', '--stauts=failed'], 'has no option `--stauts`', '--status'],
    [['engines', '--jsno'], 'has no option `--jsno`', '--json'],
    [['engines', '-x'], 'has no option `-x`', 'bap-engine engines --help'],
    [['engines', '--status'], '`--status` needs a value', '--help'],
    [['engines', '--status', '--json'], '`--status` needs a value', '--help'],
    [['engines', '--status='], '`--status` needs a value', '--help'],
    [['engines', '--status=a', '--status=b'], '`--status` is given twice', '--help'],
    [['doctor', '--json=yes'], '`--json` takes no value', '--help'],
    [['doctor', 'now'], 'does not take `now`', '--help'],
    [['explain', 'demo'], 'needs <user>', '--help'],
    [['products', 'policy', 'demo', '--set={'], 'not valid JSON', 'Quote it'],
    [['products', 'delete', 'demo'], 'cannot be undone', '--yes'],
    [['--json'], 'No command was given', '--help'],
  ])('%j', async (argv, message, advice) => {
    const { exit, out, err } = await bapEngine(argv, { env });
    const said = argv.includes('--json') ? out : err;
    expect(exit).toBe(2);
    expect(said).toContain(message);
    expect(said).toContain(advice);
  });

  it('as one JSON document where --json is given', async () => {
    const { exit, out, err } = await bapEngine(['engines', '--json', '--stauts=failed'], { env });
    expect([exit, err]).toEqual([2, '']);
    expect(JSON.parse(out)).toEqual({
      error: { code: 'USAGE', message: expect.any(String), advice: 'Did you mean `--status`?' },
    });
  });
});

describe('exit codes', () => {
  it('3: nobody answers', async () => {
    const { exit, err } = await bapEngine(['engines'], { env });
    expect(exit).toBe(3);
    expect(err).toContain('Nobody answers at http://127.0.0.1:1.');
  });

  it('3: no database', async () => {
    const master = Buffer.alloc(32).toString('base64url');
    const production = {
      ...env,
      ORCH_ADMIN_KEY: 'a'.repeat(64),
      ORCH_MASTER_KEY: master,
      ORCH_ENGINE_BACKEND: 'subprocess',
      ORCH_DATABASE_URL: 'postgresql://u:hush@127.0.0.1:1/x',
    };
    const { exit, err } = await bapEngine(['migrate'], { env: production });
    expect(exit).toBe(3);
    expect(err).toContain('The database cannot be reached');
    expect(err).not.toContain('hush');
  });

  it('4: no admin key, an address that is none, a configuration that cannot be used', async () => {
    const production = { NODE_ENV: 'production' };
    expect(await bapEngine(['engines'], { env: production })).toMatchObject({
      exit: 4,
      err: expect.stringContaining('ORCH_ADMIN_KEY_FILE'),
    });
    const keyless = { ...env, ORCH_ADMIN_KEY: '', ORCH_ADMIN_KEY_FILE: '/nowhere' };
    expect(await bapEngine(['engines'], { env: keyless })).toMatchObject({ exit: 4 });
    expect(await bapEngine(['engines'], { env: { ...env, ORCH_URL: 'localhost' } })).toMatchObject({
      exit: 4,
    });
    const { exit, out } = await bapEngine(['migrate', '--json'], { env: production });
    expect(exit).toBe(4);
    const { error } = JSON.parse(out);
    expect(error.code).toBe('CONFIGURATION');
    expect(error.details.problems).toContain('ORCH_DATABASE_URL is required');
  });
});
