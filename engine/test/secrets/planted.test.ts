/**
 * Secrets planted wherever an Engine could meet one, and then a look for each of them wherever somebody else could: in
 * every event, log line, answer and row. Where one may stand, because the model's own context needs it, is named below.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { Step } from '@september/model-server';
import { expect, it } from 'vitest';
import { PATTERNS } from '../../src/secrets/patterns.ts';
import { catalogOf } from '../support/catalog.ts';
import { type Engine, startEngine, temporaryFolder } from '../support/engine.ts';
import { answer, asks } from '../support/person.ts';
import { scriptedModel } from '../support/scripted.ts';
import { all, events, execute, outline, type Received, rest, textOf, until } from '../support/stream.ts';

/** Of others: in files and in what the model says. The part that must not be seen. */
const [AWS, GITHUB, STRIPE] = ['aws_access_key_id', 'github_token', 'stripe_key'].map((kind) => {
  const [before = '', secret = ''] = PATTERNS.find((pattern) => pattern.kind === kind)?.example ?? [];
  return { whole: before + secret, secret };
}) as [Planted, Planted, Planted];
type Planted = { whole: string; secret: string };

/** The Engine's own, of its environment. */
const OWN = {
  LLM_API_KEY: 'provider-key-of-the-Engine-4711',
  OTHER_SERVICE_TOKEN: 'somebody-elses-token-0815',
};

/** What the model is told and has said is kept as it was, word for word: these hold the conversation. */
const CONTEXT = ['messages', 'tool_calls', 'working_memory_log'];

const model = await scriptedModel();

async function engineWith(
  settings: Record<string, string> = {},
): Promise<{ engine: Engine; folder: string }> {
  const folder = temporaryFolder();
  await mkdir(join(folder, 'workspace'));
  writeFileSync(join(folder, 'workspace', 'credentials.txt'), `aws = ${AWS.whole}\n`);
  writeFileSync(
    join(folder, 'workspace', '.env'),
    `${Object.values(OWN).join('\n')}\n${Buffer.from(`user:${OWN.LLM_API_KEY}`).toString('base64')}\n`,
  );
  const catalog = catalogOf({ assistant: ['read_file', 'write_file', 'ask_user', 'working_memory_write'] });
  const engine = await startEngine(folder, { ...model.settings, ...catalog, ...OWN, ...settings });
  return { engine, folder };
}

const say = (...steps: Step[]) => ({ steps });

/** Every row of the brain as text, by table. */
function tables(folder: string): Record<string, string> {
  const db = new DatabaseSync(join(folder, 'brain.sqlite'), { readOnly: true });
  const names = db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%'")
    .all()
    .map(({ name }) => String(name));
  const rows = (name: string) =>
    db
      .prepare(`SELECT * FROM "${name}"`)
      .all()
      .map((row) => Object.values(row).map((cell) => (cell instanceof Uint8Array ? Buffer.from(cell) : cell)))
      .join('\n');
  const dump = Object.fromEntries(names.map((name) => [name, rows(name)]));
  db.close();
  return dump;
}

it('planted secrets show nowhere', async () => {
  const { engine, folder } = await engineWith();
  const from = model.requests.length;
  model.script(
    say(
      { thinking: `They want ${GITHUB.whole}.`, chunks: 30 },
      { text: `First ${GITHUB.whole} and then more.`, chunks: 40 },
      { tool: 'read_file', input: { path: 'credentials.txt' } },
      { tool: 'read_file', input: { path: '.env' } },
      { tool: 'write_file', input: { path: 'out.txt', content: `key ${STRIPE.whole}` } },
      { tool: 'working_memory_write', input: { key: 'found', value: AWS.whole } },
      asks(`Is ${GITHUB.whole} yours?`),
    ),
    say({ text: `It ends in ${AWS.whole}`, chunks: 9 }),
  );
  const stream = events(await execute(engine, { task_id: 'planted', message: 'Look', super_thinking: true }));
  const before = await until(stream, ({ type }) => type === 'hitl_request');
  const pending = await engine.json('/hitl/pending');
  expect((await answer(engine, { task_id: 'planted', answer: 'yes' })).status).toBe(200);
  const received = [...before, ...(await rest(stream))];
  const task = await engine.json('/tasks/planted');
  const replayed = await all(engine.fetch('/execute/replay?after=0&task_id=planted'));
  const observed = await engine.json('/observability/events?kind=secrets_redacted&task_id=planted');
  await engine.stop();

  expect(outline(received).at(-1)).toBe('thread_lifecycle completed');
  expect(textOf(received)).toBe(
    'First ghp_[REDACTED:github_token] and then more.It ends in AKIA[REDACTED:aws_access_key_id]',
  );
  expect(replayed.map(({ data }) => data)).toEqual(received.map(({ data }) => data));

  const rows = tables(folder);
  const shown: Record<string, string> = {
    ...rows,
    received: JSON.stringify(received),
    logs: JSON.stringify(engine.logs),
    task: JSON.stringify(task),
    pending: JSON.stringify(pending),
    requests: JSON.stringify(model.requests.slice(from).map(({ body }) => body)),
  };
  const own = Object.values(OWN).flatMap((value) => [
    value.slice(3),
    Buffer.from(value).toString('base64').slice(4, -4),
  ]);
  const allowed = new Set([...CONTEXT, 'requests']);
  for (const [place, text] of Object.entries(shown)) {
    const theirs = allowed.has(place) ? [] : [AWS.secret, GITHUB.secret, STRIPE.secret];
    for (const secret of [...own, ...theirs])
      expect(text.includes(secret), `${secret} in ${place}`).toBe(false);
  }
  // It would be found: where the policy says that it may stand, it does, and the tools have worked with it.
  for (const place of allowed) expect(shown[place], place).toContain(AWS.secret);
  expect(readFileSync(join(folder, 'workspace', 'out.txt'), 'utf8')).toBe(`key ${STRIPE.whole}`);
  for (const place of ['task', 'pending', 'received'])
    expect(shown[place]).toContain('[REDACTED:github_token]');
  expect(shown.requests).toContain('[REDACTED:engine_secret]');
  expect(rows.channel_state_snapshots).toContain('[REDACTED:');

  const said: string[] = observed.events.flatMap(({ data }: { data: { kinds: string[] } }) => data.kinds);
  expect(new Set(said)).toEqual(
    new Set(['aws_access_key_id', 'github_token', 'stripe_key', 'engine_secret']),
  );
});

it('a model that an operator keeps them from does not see those of others either', async () => {
  const { engine } = await engineWith({ SCRUB_TOOL_RESULTS_ENABLED: 'true' });
  model.script(
    say({ tool: 'read_file', input: { path: 'credentials.txt' } }),
    say({ text: 'Nothing there.' }),
  );
  await all(execute(engine, { task_id: 'kept', message: 'Look' }));
  await engine.stop();
  const told = JSON.stringify(model.requests.at(-1)?.body);
  expect(told).toContain('AKIA[REDACTED:aws_access_key_id]');
  expect(told).not.toContain(AWS.secret);
});

it('a log line that would say one does not', async () => {
  const { engine } = await engineWith();
  const path = `/tasks/${OWN.LLM_API_KEY}-${STRIPE.whole}`;
  expect((await engine.fetch(path)).status).toBe(404);
  const { extra } = await engine.logged((line) => line.message === 'Request' && line.extra?.status === 404);
  await engine.stop();
  expect(extra?.path).toBe('/tasks/pro[REDACTED:engine_secret]-sk_live_[REDACTED:stripe_key]');
});

it('a block that breaks takes with it what was held back; the next begins anew', async () => {
  const { engine } = await engineWith();
  const half = GITHUB.whole.slice(0, 20);
  model.script(
    say({ text: `Key ${half}`, chunks: 5 }, { cut: true }),
    say({ text: `Key ${half}, no more.`, chunks: 5 }),
  );
  const received: Received[] = await all(execute(engine, { task_id: 'cut', message: 'Go on' }));
  await engine.stop();
  const again = received.findIndex(({ data }) => data.discarded === true);
  expect(again).toBeGreaterThan(0);
  expect(textOf(received.slice(0, again))).toBe('Key ghp_');
  expect(textOf(received.slice(again))).toBe(`Key ${half}, no more.`);
});

it('deltas without a secret come as the model sent them', async () => {
  const { engine } = await engineWith();
  const text = 'A skipped token is a password to the secret garden. It asks: sk or AK?';
  model.script(say({ text, chunks: 35 }));
  const received = await all(execute(engine, { task_id: 'plain', message: 'Write' }));
  await engine.stop();
  expect(textOf(received)).toBe(text);
  expect(received.filter(({ type }) => type === 'text_delta')).toHaveLength(35);
});
