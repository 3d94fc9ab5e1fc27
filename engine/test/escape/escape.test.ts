/**
 * Every way out of `ways.ts`, tried through the real sandbox against a real Engine. After each of them nothing is
 * different outside, and the Engine serves. The same in a container: `escape.docker.ts`.
 */
import { afterAll, describe, expect, it } from 'vitest';
import type { Host } from '../../src/sandbox/host.ts';
import { catalogOf } from '../support/catalog.ts';
import { startEngine, temporaryFolder } from '../support/engine.ts';
import { host, processesWith } from '../support/sandbox.ts';
import { isHeld, openRange, verdict } from './attacks.ts';
import { WAYS } from './ways.ts';

const home = temporaryFolder();
const catalog = catalogOf({ assistant: ['bash'] });
const engine = await startEngine(home, { ...catalog });
const range = await openRange(home, catalog.CATALOG_DIR, {
  pid: engine.process.pid ?? 0,
  port: new URL(engine.url).port,
});
afterAll(() => range.close());

/** The same machine, if it did not have one of its layers. */
function without(found: Host, layer: 'seccomp' | 'landlock' | 'limits'): Host {
  if (layer === 'seccomp') return { ...found, seccomp: undefined };
  if (layer === 'landlock') return { ...found, landlock: false };
  return { ...found, perl: undefined, landlock: false };
}

describe.skipIf(host === undefined)('nothing gets out of the sandbox', () => {
  const sandbox = host === undefined ? undefined : range.sandboxOf(host);
  it('knows at least 60 ways', () => {
    expect(WAYS.length).toBeGreaterThanOrEqual(60);
    expect(new Set(WAYS.map(({ name }) => name)).size).toBe(WAYS.length);
  });

  it.each(WAYS)('$name', async (way) => {
    if (sandbox === undefined) throw new Error('no sandbox');
    const ended = await range.attempt(sandbox, way);
    expect(verdict(way, ended)).toBeUndefined();
    await expect.poll(() => processesWith('61.5'), { timeout: 5_000, interval: 20 }).toEqual([]);
    expect(range.traces()).toEqual([]);
    expect(await engine.json('/health')).toMatchObject({ status: 'ok', subsystems: { database: 'ok' } });
  });
});

describe.skipIf(host === undefined)('the suite fails where a layer is away', () => {
  const ways = WAYS.flatMap((way) =>
    way.opens_without === undefined ? [] : [{ ...way, layer: way.opens_without }],
  );

  it.each(ways)('without $layer it $name', async ({ layer, ...way }) => {
    if (host === undefined) throw new Error('no sandbox');
    const ended =
      layer === 'bubblewrap'
        ? await range.attemptOutside(way)
        : await range.attempt(range.sandboxOf(without(host, layer)), way);
    const found = isHeld(ended) ? range.traces() : ['ESCAPED'];
    range.traces();
    expect(found, ended.stderr).not.toEqual([]);
  });
});
