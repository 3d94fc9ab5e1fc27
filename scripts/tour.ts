/**
 * `npm run tour`: the specification's quickstart from health to destroy, against the public HTTP APIs only.
 * Shows each call and its answer, and checks every answer against the documented shape. Exit code 0 only if
 * all of them fit.
 *
 *   npm run tour                                     starts an orchestrator of its own, in a temporary folder
 *   npm run tour -- --url=http://127.0.0.1:8000      uses a running one; the admin key comes from ORCH_ADMIN_KEY
 *                                                    or from the development secrets of this folder
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createParser } from 'eventsource-parser';
import { z } from 'zod';
import { startOwnOrchestrator } from './own_orchestrator.ts';

const USER = 'demo user/001';

const engineFields = {
  engine_id: z.uuid(),
  user_id: z.literal(USER),
  status: z.literal('running'),
  url: z.url(),
  host_url: z.url().optional(),
  engine_version: z.string(),
  created_at: z.iso.datetime(),
  last_health_at: z.iso.datetime(),
};
const Engine = z.strictObject({ ...engineFields, api_key: z.string().regex(/^sk-sept-/) });

const shapes = {
  health: z.strictObject({ status: z.literal('ok') }),
  register: z.strictObject({
    product_id: z.uuid(),
    slug: z.string(),
    platform_api_key: z.string().regex(/^pk-sept-[\w-]{42,}$/),
  }),
  admit: z.strictObject({ admitted: z.literal(true), engine: Engine }),
  engine: Engine,
  status: z.strictObject({
    total: z.literal(1),
    by_status: z.strictObject({ running: z.literal(1) }),
    health: z.literal('ok'),
    unhealthy_count: z.literal(0),
  }),
  list: z.strictObject({
    engines: z.array(z.strictObject({ ...engineFields, health: z.literal('ok') })).length(1),
    total: z.literal(1),
  }),
  stop: z.strictObject({ status: z.literal('stopped'), engine_id: z.uuid() }),
  start: z.strictObject({ status: z.literal('running'), url: z.url(), host_url: z.url().optional() }),
  destroy: z.strictObject({ status: z.literal('destroyed'), engine_id: z.uuid() }),
  gone: z.strictObject({
    error: z.strictObject({
      code: z.literal('ENGINE_NOT_FOUND'),
      message: z.string(),
      details: z.looseObject({}).optional(),
    }),
  }),
};

const Event = z.looseObject({
  type: z.string(),
  timestamp: z.iso.datetime(),
  task_id: z.string(),
  turn_id: z.string(),
});
type Event = z.infer<typeof Event>;

/** An answer that is not what the specification says. */
class Mismatch extends Error {}

const { values } = parseArgs({ options: { url: { type: 'string' } } });
if (values.url === undefined) console.log('Starting an orchestrator for the tour …');
const own = values.url === undefined ? await startOwnOrchestrator() : null;
const url = own?.url ?? values.url?.replace(/\/$/, '') ?? '';
let steps = 0;
try {
  await walk(own?.adminKey ?? (await adminKey()));
  console.log(`\nThe tour is over: ${steps} calls, every answer had the documented shape.`);
} catch (error) {
  if (!(error instanceof Mismatch) && !(error instanceof TypeError)) throw error;
  console.error(`\nThe tour failed at call ${steps}: ${error.message}`);
  process.exitCode = 1;
} finally {
  await own?.stop();
}

async function walk(admin: string) {
  await call('Is the orchestrator up?', 'GET', '/health', {}, undefined, 200, shapes.health);

  const slug = `tour-${Date.now().toString(36)}`;
  const product = await call(
    'Register a product: a tenant of the orchestrator',
    'POST',
    '/products/register',
    { 'X-Admin-Key': admin },
    { slug, display_name: 'Tour', policy: { max_engines: 10, rate_limit_rpm: 60 } },
    200,
    shapes.register,
  );
  const key = { 'X-Platform-Key': product.platform_api_key };
  const user = `/engines/${encodeURIComponent(USER)}`;

  const flags = { auto_provision: true, auto_wake: true };
  const { engine } = await call(
    'Admit a user: an Engine comes up',
    'POST',
    `${user}/admit`,
    key,
    flags,
    200,
    shapes.admit,
  );
  const task = `tour-${Date.now()}`;
  await execute('Talk to the Engine itself', engine, {
    message: 'My name is Ada. Say hello.',
    task_id: task,
  });

  await call('Look the engine up', 'GET', user, key, undefined, 200, shapes.engine);
  await call('The fleet at a glance', 'GET', '/status', key, undefined, 200, shapes.status);
  await call('The fleet as a list, without keys', 'GET', '/engines', key, undefined, 200, shapes.list);
  await call('Stop the engine; its brain stays', 'POST', `${user}/stop`, key, undefined, 200, shapes.stop);
  await call('Start it again', 'POST', `${user}/start`, key, undefined, 200, shapes.start);
  const again = await call('Its address and key', 'GET', user, key, undefined, 200, shapes.engine);
  await execute('It remembers the conversation', again, { message: 'What is my name?', task_id: task });
  await call('Destroy it, brain and all', 'DELETE', user, key, undefined, 200, shapes.destroy);
  await call('It is gone', 'GET', user, key, undefined, 404, shapes.gone);
}

async function call<T>(
  title: string,
  method: string,
  path: string,
  headers: Record<string, string>,
  body: unknown,
  status: number,
  shape: z.ZodType<T>,
): Promise<T> {
  show(title, `${method} ${url}${path}`, headers, body);
  const response = await fetch(`${url}${path}`, {
    method,
    headers: body === undefined ? headers : { ...headers, 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  console.log(`  ← ${response.status} ${text}`);
  if (response.status !== status) throw new Mismatch(`expected status ${status}, got ${response.status}`);
  return fits(shape, text);
}

/** Streams a turn to the terminal and checks the order of its events. */
async function execute(title: string, engine: { url: string; api_key: string }, body: object) {
  const headers = { 'X-Engine-Key': engine.api_key };
  show(title, `POST ${engine.url}/execute`, headers, body);
  const response = await fetch(`${engine.url}/execute`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok || response.body === null) {
    throw new Mismatch(`${response.status} ${await response.text()}`);
  }
  const events: Event[] = [];
  let lastId = 0;
  const parser = createParser({
    onEvent({ id, event, data }) {
      const parsed = fits(Event, data);
      if (parsed.type !== event) throw new Mismatch(`event ${event} carries type ${parsed.type}`);
      if (event === 'heartbeat') return;
      if (!(Number(id) > lastId)) throw new Mismatch(`event id ${id} after ${lastId}`);
      lastId = Number(id);
      events.push(parsed);
      print(parsed);
    },
  });
  console.log(`  ← ${response.status} ${response.headers.get('content-type')}`);
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) parser.feed(chunk);
  console.log();
  checkTurn(events);
}

function print(event: Event) {
  if (event.type === 'text_delta') process.stdout.write(String(event.text));
  else {
    const { type, timestamp: _t, task_id: _a, turn_id: _u, ...rest } = event;
    console.log(`\n    ${type} ${JSON.stringify(rest)}`);
  }
}

function checkTurn(events: Event[]) {
  const [first, last] = [events[0], events.at(-1)];
  const must = (ok: boolean, what: string) => {
    if (!ok) throw new Mismatch(what);
  };
  must(
    first?.type === 'thread_lifecycle' && first.phase === 'started',
    'the turn opens with thread_lifecycle started',
  );
  must(
    last?.type === 'thread_lifecycle' && last.phase === 'completed',
    'the turn ends with thread_lifecycle completed',
  );
  for (const type of ['content_block_start', 'text_delta', 'content_block_stop', 'usage']) {
    must(
      events.some((event) => event.type === type),
      `the turn has an event ${type}`,
    );
  }
}

function show(title: string, line: string, headers: Record<string, string>, body: unknown) {
  steps += 1;
  console.log(`\n${steps}. ${title}\n  → ${line}`);
  for (const [name, value] of Object.entries(headers)) console.log(`    ${name}: ${value.slice(0, 12)}…`);
  if (body !== undefined) console.log(`    ${JSON.stringify(body)}`);
}

function fits<T>(shape: z.ZodType<T>, text: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Mismatch(`not JSON: ${text.slice(0, 200)}`);
  }
  const result = shape.safeParse(value);
  if (!result.success) throw new Mismatch(z.prettifyError(result.error));
  return result.data;
}

async function adminKey(): Promise<string> {
  if (process.env.ORCH_ADMIN_KEY) return process.env.ORCH_ADMIN_KEY;
  const file = join(process.env.ORCH_DATA_DIR ?? '.september', 'secrets.json');
  try {
    return z.object({ admin_key: z.string() }).parse(JSON.parse(await readFile(file, 'utf8'))).admin_key;
  } catch {
    console.error(`The tour needs the admin key of ${url}: set ORCH_ADMIN_KEY (there is none in ${file}).`);
    process.exit(1);
  }
}
