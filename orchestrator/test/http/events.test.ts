import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MAX_STREAMS_OF_ONE, POLL_MS } from '../../src/fleet/feed.ts';
import { KEPT_S } from '../../src/fleet/prune.ts';
import { type Clock, systemClock } from '../../src/lifecycle/clock.ts';
import { openDb } from '../../src/registry/db.ts';
import { lastTransitionId, pruneTransitions } from '../../src/registry/transitions.ts';
import { listen } from '../support/events.ts';
import { ADMIN, startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { addEngine } from '../support/registry.ts';
import { until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };

describe('GET /events', () => {
  it('tells every transition of an engine along its life, with its operation', async () => {
    const o = await startTestOrchestrator();
    const { call, key, id } = await o.product();
    const stream = await listen(o.url, { 'X-Platform-Key': key });
    expect([stream.status, stream.headers.get('content-type')]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
    ]);
    await stream.begun();
    const { engine_id } = (await call('POST', '/engines/ada/admit', { body: both })).body.engine;
    const steps = [
      ['POST', '/sleep', { depth: 'doze' }],
      ['POST', '/sleep', { depth: 'hibernate' }],
      ['POST', '/wake'],
      ['POST', '/stop'],
      ['POST', '/start'],
      ['DELETE', '?retain=true'],
      ['POST', '/restore'],
    ] as const;
    for (const [method, path, body] of steps) {
      expect((await call(method, `/engines/ada${path}`, { body })).status).toBe(200);
    }
    process.kill((await o.processOf(engine_id)).pid, 'SIGKILL');
    await until('it has failed', async () => (await call('GET', '/engines/ada')).body.status === 'failed');
    await call('DELETE', '/engines/ada');
    await until('the end is told', () => stream.seen.at(-1)?.to === null);
    expect(stream.seen.map(({ from, to, sleep_depth }) => [from, to, sleep_depth])).toEqual([
      [null, 'provisioning', null],
      ['provisioning', 'running', null],
      ['running', 'sleeping', 'doze'],
      ['sleeping', 'sleeping', 'hibernate'],
      ['sleeping', 'running', null],
      ['running', 'stopped', null],
      ['stopped', 'running', null],
      ['running', 'destroying', null],
      ['destroying', 'destroyed', null],
      ['destroyed', 'provisioning', null],
      ['provisioning', 'running', null],
      ['running', 'failed', null],
      ['failed', 'destroying', null],
      ['destroying', null, null],
    ]);
    for (const event of stream.seen) {
      expect(event).toMatchObject({ engine_id, user_id: 'ada', product_id: id });
      expect(Date.parse(event.at)).toBeGreaterThan(0);
      // Nobody began the failure.
      if (event.to === 'failed') expect(event).not.toHaveProperty('operation_id');
      else {
        const operation = await call('GET', `/operations/${event.operation_id}`);
        expect(operation.body, `${event.from} -> ${event.to}`).toMatchObject({ engine_id });
      }
    }
    await stream.close();
  });

  it('goes on after the last id, without gap or double, and begins anew where that is not possible', async () => {
    const o = await startTestOrchestrator();
    const { call, key } = await o.product();
    const headers = { 'X-Platform-Key': key };
    await call('POST', '/engines/ada/admit', { body: both });
    // A stream that never had an event knows where it stood.
    const first = await listen(o.url, headers);
    await first.begun();
    await first.close();
    expect(first.seen).toEqual([]);
    await call('POST', '/engines/ada/stop');
    const second = await listen(o.url, { ...headers, 'Last-Event-ID': first.state.last_id ?? '' });
    await until('it is told', () => second.seen.length === 1);
    await second.close();
    await call('POST', '/engines/ada/start');
    // The header is newer than the address that a browser comes back to.
    const third = await listen(
      o.url,
      { ...headers, 'Last-Event-ID': second.state.last_id ?? '' },
      `?after=${first.state.last_id}`,
    );
    await until('it is told', () => third.seen.length === 1);
    const all = await listen(o.url, headers, '?after=0');
    await until('it is told from the first on', () => all.seen.length === 4);
    expect(all.seen.map(({ to }) => to)).toEqual(['provisioning', 'running', 'stopped', 'running']);
    expect(all.seen.slice(2)).toEqual([...second.seen, ...third.seen]);
    expect([second.state.resets, third.state.resets, all.state.resets]).toEqual([0, 0, 0]);

    await o.orchestrator.db.query("UPDATE transitions SET at = now() - interval '25 hours'");
    expect(await pruneTransitions(o.orchestrator.db, KEPT_S, 100)).toBe(3);
    for (const [after, resets] of [
      ['0', 1],
      [all.seen[2]?.id, 0],
      [all.seen[3]?.id, 0],
      ['999999', 1],
    ] as const) {
      const stream = await listen(o.url, headers, `?after=${after}`);
      await stream.begun();
      await call('POST', '/engines/ada/stop');
      await call('POST', '/engines/ada/start');
      await until('what comes is told', () => stream.seen.at(-1)?.from === 'stopped');
      expect([after, stream.state.resets]).toEqual([after, resets]);
      await stream.close();
    }
  });

  it('waits for a transaction that is still under way with a lower number', async () => {
    let looks = 0;
    const clock: Clock = {
      ...systemClock,
      sleep(ms, signal) {
        if (ms === POLL_MS) looks += 1;
        return systemClock.sleep(ms, signal);
      },
    };
    const o = await startTestOrchestrator(testEnvironment(), { clock });
    const { db } = o.orchestrator;
    const { id, key } = await o.product();
    for (const user of ['ada', 'bob']) await addEngine(db, id, user);
    const stream = await listen(o.url, { 'X-Platform-Key': key });
    await stream.begun();
    const change = 'UPDATE engines SET status = $2 WHERE user_id = $1';
    const [held, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const slow = db.tx(async (sql) => {
      await sql.query(change, ['ada', 'failed']);
      await sql.query('SET CONSTRAINTS ALL IMMEDIATE');
      held.resolve();
      await release.promise;
    });
    await held.promise;
    await db.query(change, ['bob', 'failed']);
    const last = await lastTransitionId(db);
    const before = looks;
    await until('the stream has looked for it', () => looks > before + 2);
    expect(stream.seen).toEqual([]);
    release.resolve();
    await slow;
    await until('both are told', () => stream.seen.length === 2);
    expect(stream.seen.map(({ id, user_id }) => [id, user_id])).toEqual([
      [String(last - 1), 'ada'],
      [String(last), 'bob'],
    ]);
  });

  it('tells the changes of one engine in their order, whichever transaction began first', async () => {
    const o = await startTestOrchestrator();
    const { db } = o.orchestrator;
    const { id, key } = await o.product();
    await addEngine(db, id, 'ada');
    const stream = await listen(o.url, { 'X-Platform-Key': key });
    await stream.begun();
    const [begun, changed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const older = db.tx(async (sql) => {
      await sql.query('SELECT pg_current_xact_id()');
      begun.resolve();
      await changed.promise;
      await sql.query("UPDATE engines SET status = 'stopped'");
    });
    await begun.promise;
    await db.query("UPDATE engines SET status = 'failed'");
    changed.resolve();
    await older;
    await until('both are told', () => stream.seen.length === 2);
    expect(stream.seen.map(({ from, to }) => [from, to])).toEqual([
      ['provisioning', 'failed'],
      ['failed', 'stopped'],
    ]);
  });

  it('shows a product its own only, an operator all or those of one', async () => {
    const o = await startTestOrchestrator(testEnvironment({ ORCH_WARM_POOL: '1' }));
    const [a, b] = [await o.product(), await o.product()];
    const admin = { 'X-Admin-Key': ADMIN };
    await until('the pool is there', async () => {
      const rows = await o.orchestrator.db.query("SELECT FROM engines WHERE status = 'running'");
      return rows.length === 1;
    });
    const streams = await Promise.all([
      listen(o.url, { 'X-Platform-Key': a.key }, '?after=0'),
      listen(o.url, { 'X-Platform-Key': b.key }, '?after=0'),
      listen(o.url, admin, `?after=0&product_id=${b.id}`),
      listen(o.url, admin, '?after=0'),
    ]);
    await a.call('POST', '/engines/ada/admit', { body: both });
    await b.call('POST', '/engines/ada/admit', { body: both });
    const [ofA, ofB, alsoB, ofAll] = streams.map(({ seen }) => seen);
    await until('all is told', () => [ofA, ofB, alsoB].every((seen) => seen?.at(-1)?.to === 'running'));
    await until('all is told', () => ofAll?.some(({ id }) => id === ofB?.at(-1)?.id));
    // One of them comes out of the pool; to its owner it is as new as the other.
    for (const [seen, product_id] of [
      [ofA, a.id],
      [ofB, b.id],
      [alsoB, b.id],
    ] as const) {
      expect(seen?.map((event) => [event.from, event.to, event.product_id])).toEqual([
        [null, 'provisioning', product_id],
        ['provisioning', 'running', product_id],
      ]);
    }
    expect(ofAll?.slice(0, 2)).toMatchObject([
      { from: null, to: 'provisioning', user_id: null, product_id: null },
      { from: 'provisioning', to: 'running', user_id: null, product_id: null },
    ]);
    const other = await a.call('GET', `/events?product_id=${b.id}`);
    expect([other.status, other.body.error.code]).toEqual([400, 'INVALID_REQUEST']);
  });

  it('has a limit of streams, for one and for all, and ends them when it ends', async () => {
    const o = await startTestOrchestrator();
    const [a, b] = [await o.product(), await o.product()];
    const open = await Promise.all(
      Array.from({ length: MAX_STREAMS_OF_ONE }, () => listen(o.url, { 'X-Platform-Key': a.key })),
    );
    const refused = await a.call('GET', '/events');
    expect([refused.status, refused.body.error.code]).toEqual([503, 'TOO_MANY_STREAMS']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    const others = await listen(o.url, { 'X-Platform-Key': b.key });
    expect(others.status).toBe(200);
    await open[0]?.close();
    const again = await until('a place is free', async () => {
      const stream = await listen(o.url, { 'X-Platform-Key': a.key });
      return stream.status === 200 && stream;
    });
    await Promise.all([again, others].map((stream) => stream.begun()));
    await o.orchestrator.close();
    await Promise.all([...open, again, others].map((stream) => stream.ended));
  });

  it('cuts off a reader that takes nothing, and serves the others', async () => {
    const o = await startTestOrchestrator();
    const { id, key } = await o.product();
    const { hostname, port } = new URL(o.url);
    const idle = connect(Number(port), hostname).pause();
    onTestFinished(() => void idle.destroy());
    idle.write(`GET /events HTTP/1.1\r\nHost: x\r\nX-Platform-Key: ${key}\r\n\r\n`);
    const stream = await listen(o.url, { 'X-Platform-Key': key });
    await stream.begun();
    // More than the sockets on the way can hold.
    const [times, rows] = [10, 500];
    for (let n = 1; n <= times; n += 1) {
      await o.orchestrator.db.query(
        `INSERT INTO transitions (engine_id, product_id, user_id, to_status)
         SELECT gen_random_uuid(), $1, repeat('x', 10000), 'failed' FROM generate_series(1, $2)`,
        [id, rows],
      );
      await until('the other has them', () => stream.seen.length === n * rows);
    }
    await until('it is cut off', () => o.logged().includes('too slow and is cut off'));
    expect(stream.state.ended).toBe(false);
    // It got a part, whole events, and can go on from there.
    let bytes = 0;
    idle.on('data', (chunk) => {
      bytes += chunk.length;
    });
    await once(idle.resume(), 'close');
    expect(bytes).toBeLessThan(times * rows * 10_000);
  });
});

it('a stream that has not begun when its orchestrator ends, ends too, and is no error', async () => {
  const o = await startTestOrchestrator();
  const { key } = await o.product();
  const other = openDb(o.config.database_url, () => {});
  onTestFinished(() => other.end());
  let answer: Promise<string> | undefined;
  await other.tx(async (sql) => {
    await sql.query('LOCK TABLE transitions');
    answer = fetch(`${o.url}/events`, { headers: { 'X-Platform-Key': key } }).then((r) => r.text());
    await until('it waits for its position', async () => {
      const waiting = await sql.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
      );
      return waiting.length > 0;
    });
    void o.orchestrator.close();
    expect(await answer).toBe('');
  });
});
