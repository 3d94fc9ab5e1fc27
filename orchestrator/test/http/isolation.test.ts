/**
 * Two products never see each other (issue "control plane complete", done when 6). The test walks the API's own
 * document, so an endpoint that is added later is in it by itself: each is called by one product with every id, name
 * and key of the other that it takes, and neither may the answer hold anything of the other nor anything of it change.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestOrchestrator, type TestOrchestrator } from '../support/orchestrator.ts';

type Operation = {
  parameters?: { name: string; in: string }[];
  responses: Record<string, { content?: object }>;
};
type Product = Awaited<ReturnType<TestOrchestrator['product']>>;

/** Engine that both products have, each its own, under one user id. */
const SHARED = 'shared-user';
const THEIR_USER = 'user-of-the-other';
const THEIR_IDEMPOTENCY_KEY = 'key-of-the-other';

let o: TestOrchestrator;
let mine: Product;
let theirs: Product;
/** What of the other may be in no answer, by what it is. */
let secrets: Record<string, string>;
let operations: { method: string; path: string; operation: Operation; streams: boolean }[];

beforeAll(async () => {
  o = await startTestOrchestrator(undefined, { outliveTest: true });
  mine = await o.product({}, 'mine');
  theirs = await o.product({}, 'slug-of-the-other');
  const admit = { auto_provision: true };
  await mine.call('POST', `/engines/${SHARED}/admit`, { body: admit });
  const shared = (await theirs.call('POST', `/engines/${SHARED}/admit`, { body: admit })).body.engine;
  const own = (await theirs.call('POST', `/engines/${THEIR_USER}/admit`, { body: admit })).body.engine;
  const { body: operation } = await theirs.call('POST', `/engines/${THEIR_USER}/stop?wait=false`, {
    headers: { 'Idempotency-Key': THEIR_IDEMPOTENCY_KEY },
  });
  // The same wish with the same key is answered with the outcome.
  await theirs.call('POST', `/engines/${THEIR_USER}/stop`, {
    headers: { 'Idempotency-Key': THEIR_IDEMPOTENCY_KEY },
  });
  secrets = {
    'product id': theirs.id,
    slug: theirs.slug,
    'platform key': theirs.key,
    user: THEIR_USER,
    'engine id': own.engine_id,
    'engine key': own.api_key,
    url: own.url,
    'id of the engine of the shared user': shared.engine_id,
    'key of the engine of the shared user': shared.api_key,
    'url of the engine of the shared user': shared.url,
    operation: operation.id,
  };
  const { body: document } = await o.call('GET', '/openapi.json');
  operations = Object.entries<Record<string, Operation>>(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      operation,
      streams: 'text/event-stream' in (operation.responses[200]?.content ?? {}),
    })),
  );
}, 120_000);
afterAll(() => o?.end());

/** Their value for a parameter, wherever it stands; several where there is more than one to try. */
function theirValues(name: string): string[] {
  const values: Record<string, (string | undefined)[]> = {
    user_id: [THEIR_USER, SHARED],
    user_id_prefix: [THEIR_USER.slice(0, 7)],
    id: [secrets.operation],
    product_id: [secrets['product id']],
    engine_id: [secrets['engine id'], secrets['id of the engine of the shared user']],
    actor: [secrets.slug],
    after: ['0'],
  };
  return (values[name] ?? []).filter((value) => value !== undefined);
}

/** Every way to ask this endpoint for what is theirs: all their ids in the path, then each of the query by itself. */
function addresses({ path, operation }: { path: string; operation: Operation }): string[] {
  const names = [...path.matchAll(/\{(\w+)\}/g)].flatMap(([, name]) => name ?? []);
  const paths = names.reduce(
    (all, name) =>
      all.flatMap((one) =>
        theirValues(name).map((value) => one.replace(`{${name}}`, encodeURIComponent(value))),
      ),
    [path],
  );
  const queries = (operation.parameters ?? [])
    .filter((parameter) => parameter.in === 'query')
    .flatMap(({ name }) => theirValues(name).map((value) => `?${name}=${encodeURIComponent(value)}`));
  return paths.flatMap((one) => ['', ...queries].map((query) => `${one}${query}`));
}

/** What of theirs stands in `text`, unless the request had it in its address. */
const leaked = (text: string, address: string, body = '') =>
  Object.entries(secrets)
    .filter(([, value]) => text.includes(value) && !address.includes(value) && !body.includes(value))
    .map(([name]) => name);

const textOf = (answer: { body: unknown; headers: Headers }) =>
  JSON.stringify([answer.body, [...answer.headers]]);

/** All that the registry has of the other product, but for what time alone changes. */
async function everythingOfTheirs() {
  const { db } = o.orchestrator;
  return {
    product: await db.query(
      'SELECT slug, display_name, api_key_hash, policy, engine_count FROM products WHERE id = $1',
      [theirs.id],
    ),
    engines: await db.query(
      `SELECT id, user_id, status, epoch, url, key_hash, engine_key_enc, sleep_depth, tombstone_until
         FROM engines WHERE product_id = $1 ORDER BY id`,
      [theirs.id],
    ),
    operations: await db.query('SELECT id, outcome FROM operations WHERE product_id = $1 ORDER BY id', [
      theirs.id,
    ]),
    audit: await db.query(
      `SELECT id, action FROM audit_log WHERE product_id = $1 AND action <> 'health_check' ORDER BY id`,
      [theirs.id],
    ),
  };
}

/** Reads a stream until `enough` is in it. */
async function readUntil(path: string, key: string, enough: () => string[]): Promise<string> {
  const closing = new AbortController();
  const response = await fetch(`${o.url}${path}`, {
    headers: { 'X-Platform-Key': key, 'Last-Event-ID': '0' },
    signal: closing.signal,
  });
  let text = '';
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    if (enough().every((words) => text.includes(words))) break;
  }
  closing.abort();
  return text;
}

describe('of another product', () => {
  it('a stream tells nothing', async () => {
    const streams = operations.filter(({ streams }) => streams);
    expect(streams.map(({ path }) => path)).toContain('/events');
    for (const { path } of streams) {
      const [before] = (await mine.call('GET', '/engines')).body.engines;
      const read = readUntil(path, mine.key, () => [before.engine_id, '"to":"stopped"']);
      await theirs.call('POST', `/engines/${THEIR_USER}/start`);
      await theirs.call('POST', `/engines/${THEIR_USER}/stop`);
      // Ours comes behind theirs: when it is there, theirs would have been.
      await mine.call('POST', `/engines/${SHARED}/stop`);
      expect(leaked(await read, path), path).toEqual([]);
      const own = await readUntil(path, theirs.key, () => [THEIR_USER, '"to":"stopped"']);
      expect(leaked(own, path)).toContain('engine id');
      await mine.call('POST', `/engines/${SHARED}/start`);
    }
  });

  it('no endpoint tells or changes anything', { timeout: 120_000 }, async () => {
    const before = await everythingOfTheirs();
    const body = {
      user_id: THEIR_USER,
      slug: 'another',
      display_name: 'Another',
      policy: { suspended: true },
      auto_wake: true,
    };
    // Reads first, provision last: what we do with that user id ourselves stands in our own audit log, or is our engine.
    const rank = ({ method, path }: { method: string; path: string }) =>
      path === '/engines/provision' ? 2 : method === 'GET' ? 0 : 1;
    const order = operations.filter(({ streams }) => !streams).sort((a, b) => rank(a) - rank(b));
    const statuses: string[] = [];
    for (const endpoint of order) {
      for (const address of addresses(endpoint)) {
        const { method } = endpoint;
        const headers = { 'Idempotency-Key': THEIR_IDEMPOTENCY_KEY };
        const sent = method === 'GET' || method === 'DELETE' ? undefined : body;
        const answer = await mine.call(method, address, { body: sent, headers });
        const what = `${method} ${address}`;
        statuses.push(`${answer.status} ${what}`);
        expect(leaked(textOf(answer), address, JSON.stringify(sent)), what).toEqual([]);
        if (endpoint.path.startsWith('/products')) expect(answer.status, what).toBe(401);
      }
    }
    expect(await everythingOfTheirs()).toEqual(before);
    // It is not that everything was refused.
    expect(statuses.filter((line) => line.startsWith('200')).length).toBeGreaterThan(5);
    expect(statuses.filter((line) => line.startsWith('500'))).toEqual([]);
  });

  it('their own calls do show what was looked for: the test can fail', async () => {
    const reads = operations.filter(({ method, streams }) => method === 'GET' && !streams);
    const seen = new Set<string>();
    for (const endpoint of reads) {
      for (const address of addresses(endpoint)) {
        const answer = await theirs.call('GET', address);
        for (const name of leaked(textOf(answer), '')) seen.add(name);
      }
    }
    const never = ['product id', 'platform key'];
    for (const name of Object.keys(secrets).filter((one) => !never.includes(one)))
      expect(seen).toContain(name);
  });
});
