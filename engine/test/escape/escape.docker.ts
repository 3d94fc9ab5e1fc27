/**
 * Every way out of `ways.ts`, and those that only a container has, tried inside the image of the Engine under all that
 * docs/deploy/images.md takes from it.
 *
 * Through `POST /execute` the permissions would stop most attacks before a wall has to, so what tries them stands beside
 * the Engine in the same container and uses the Engine's own sandbox code: `in_container.ts`, from this repository,
 * which is mounted read-only.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Contained, docker, KEY, removeEngine, runEngine } from '../../../test/docker/engine.ts';
import type { Attempted } from './in_container.ts';
import { FILES_BEYOND_MEMORY, IN_CONTAINER, MEMORY_BOMBS, PROCESS_BOMB, WAYS } from './ways.ts';

const NAME = 'images-escape';
const repository = join(import.meta.dirname, '../../..');
const RUNNER = '/repository/engine/test/escape/in_container.ts';
/** 120 attempts of about 100 ms each on a quiet machine. */
const RUN_MS = 300_000;

describe('nothing gets out of the sandbox in a container', () => {
  let engine: Contained;
  let attempted: Attempted[] = [];
  beforeAll(async () => {
    engine = await runEngine(NAME, {
      secrets: { LLM_API_KEY: 'a secret of the Engine' },
      // The variable is what attacks on the environment look for; the real ones are in files.
      environment: { PLANTED: KEY },
      args: ['-v', `${repository}:/repository:ro`],
    });
    const lines = docker(['exec', NAME, 'node', RUNNER]).split('\n');
    attempted = lines.map((line) => JSON.parse(line));
  }, RUN_MS);
  afterAll(() => removeEngine(NAME));

  const all = [...WAYS, ...IN_CONTAINER, ...MEMORY_BOMBS, FILES_BEYOND_MEMORY, PROCESS_BOMB];
  it.each(all)('$name', ({ name }) => {
    expect(attempted.find((one) => one.name === name)?.problems).toEqual([]);
  });

  it('the Engine is the same as before, and its walls hold', async () => {
    expect(
      docker(['inspect', '--format', '{{.State.Running}} {{.RestartCount}} {{.State.OOMKilled}}', NAME]),
    ).toBe('true 0 false');
    expect(await engine.health()).toMatchObject({
      status: 'ok',
      sandbox: {
        mode: 'sandboxed',
        layers: Object.fromEntries(
          ['bubblewrap', 'seccomp', 'landlock', 'limits'].map((layer) => [layer, { state: 'active' }]),
        ),
      },
    });
  });

  it('the attacks that read would find what they look for outside', () => {
    expect(docker(['exec', NAME, 'sh', '-c', 'cat /run/september/*'])).toContain('secret');
    expect(
      docker(['exec', NAME, 'sh', '-c', 'grep -c test-key /proc/[0-9]*/environ | grep -v :0']),
    ).toContain(':1');
  });
});
