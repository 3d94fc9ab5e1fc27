/** A plain admit takes a short way (http/direct.ts). Nobody is to notice: what it answers, the router answers too. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { startTestOrchestrator } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const FLAGS = '{"auto_provision":true,"auto_wake":true}';
/** The router reads this as JSON as well; the short way takes it as its server writes it. */
const WAYS = { direct: 'application/json', router: 'Application/JSON' };

type Way = keyof typeof WAYS;

async function admit(url: string, key: string, way: Way, user: string, body: string = FLAGS) {
  const answer = await fetch(`${url}/engines/${user}/admit`, {
    method: 'POST',
    headers: { 'X-Platform-Key': key, 'Content-Type': WAYS[way] },
    body,
  });
  const headers = Object.fromEntries(answer.headers);
  expect(headers['x-request-id']).toMatch(/^req-/);
  const { 'x-request-id': _, date, ...others } = headers;
  return { status: answer.status, headers: others, body: await answer.json() };
}

describe('a plain admit', () => {
  it('is answered as any admit: granted, denied, refused and wrong', async () => {
    const o = await startTestOrchestrator();
    const { key, id } = await o.product();
    const both = async (user: string, body?: string, with_key = key) => {
      const direct = await admit(o.url, with_key, 'direct', user, body);
      expect(await admit(o.url, with_key, 'router', user, body)).toEqual(direct);
      return direct;
    };
    expect(await both('ada')).toMatchObject({ status: 200, body: { admitted: true } });
    expect(await both('bob', '{}')).toMatchObject({ status: 200, body: { reason: 'engine_not_found' } });
    expect(await both('ada', FLAGS, 'pk-sept-wrong')).toMatchObject({ status: 401 });
    for (const body of [
      '{"auto_wake":1}',
      '{',
      '"text"',
      ' ',
      `{"more":"${'x'.repeat(2000)}","auto_wake":2}`,
    ]) {
      const { status } = await both('ada', body);
      expect(status).toBe(body === ' ' ? 200 : 400);
      expect(await both('ada', body, 'pk-sept-wrong')).toMatchObject({ status: 401 });
    }
    expect(await both('ada', `{"more":"${'x'.repeat(2000)}"}`)).toMatchObject({ status: 200 });
    expect(await both('x'.repeat(257))).toMatchObject({ status: 400 });
    await o.orchestrator.db.query('UPDATE products SET policy = $2 WHERE id = $1', [id, { suspended: true }]);
    expect(await both('ada')).toMatchObject({ status: 403 });
    await o.orchestrator.db.query('UPDATE products SET policy = $2 WHERE id = $1', [
      id,
      { rate_limit_rpm: 1 },
    ]);
    expect(await admit(o.url, key, 'direct', 'ada')).toMatchObject({ status: 200 });
    for (const way of ['direct', 'router'] as const) {
      const refused = await admit(o.url, key, way, 'ada');
      expect(refused).toMatchObject({ status: 429, body: { error: { code: 'RATE_LIMITED' } } });
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(50);
    }
  });

  it('leaves the same line in the log', async () => {
    const o = await startTestOrchestrator();
    const { key, slug } = await o.product();
    for (const way of ['direct', 'router'] as const) await admit(o.url, key, way, 'ada', '{}');
    const lines = await until('both are logged', () => {
      const all = o
        .logged()
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      const found = all.filter(({ route }) => route === '/engines/:user_id/admit');
      return found.length === 2 && found;
    });
    for (const line of lines) expect(line).toMatchObject({ method: 'POST', status: 200, product: slug });
  });

  it('that is cut off in its body is answered by nobody, and harms nobody', async () => {
    const o = await startTestOrchestrator();
    const { key } = await o.product();
    const socket = connect(Number(new URL(o.url).port), '127.0.0.1');
    await once(socket, 'connect');
    socket.write(
      `POST /engines/ada/admit HTTP/1.1\r\nHost: x\r\nX-Platform-Key: ${key}\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{"auto`,
    );
    await until('it has come', async () => (await admit(o.url, key, 'direct', 'bob', '{}')).status === 200);
    socket.destroy();
    expect(await admit(o.url, key, 'direct', 'bob', '{}')).toMatchObject({ status: 200 });
  });
});
