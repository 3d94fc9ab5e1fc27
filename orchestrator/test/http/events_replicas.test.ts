/** A stream that goes on at another replica, after the first was killed, while both change engines. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { startChildOrchestrator } from '../support/child_orchestrator.ts';
import { listen, type SeenTransition } from '../support/events.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';

const USERS = ['ada', 'bob', 'cy', 'dee'];

/** Follows the transitions as a client does: at the first replica that answers, from the last id it has. */
function follow(urls: string[], key: string) {
  const seen: SeenTransition[] = [];
  const state = { connected: 0, resets: 0, stopped: false, last_id: '0' };
  let current: Awaited<ReturnType<typeof listen>> | null = null;
  const following = (async () => {
    while (!state.stopped) {
      for (const url of urls) {
        const headers = { 'X-Platform-Key': key, 'Last-Event-ID': state.last_id };
        current = await listen(url, headers).catch(() => null);
        if (current === null) continue;
        state.connected += 1;
        await current.ended;
        seen.push(...current.seen);
        state.last_id = current.state.last_id ?? state.last_id;
        state.resets += current.state.resets;
        break;
      }
    }
  })();
  const stop = async () => {
    state.stopped = true;
    await current?.close();
    await following;
  };
  onTestFinished(stop);
  return { state, stop, seen, last: () => current?.seen.at(-1)?.id };
}

describe('a stream of transitions over two replicas', () => {
  it('has each once, those of one engine in order, also when the replica it is at is killed', async () => {
    const env = await testEnvironment();
    const alive = await startTestOrchestrator(env);
    const { key, id, call } = await alive.product();
    const victim = await startChildOrchestrator(env);
    const reader = follow([victim.url, alive.url], key);
    await until('it listens', () => reader.state.connected === 1);

    let dead = false;
    const change = async (user: string, n: number, tail: string) => {
      // In turns at both, and at whatever moment the one dies.
      const ask = n % 2 === 0 && !dead ? victim.call : call;
      await ask('POST', `/engines/${user}${tail}`, { key }).catch(() => null);
    };
    let rounds = 0;
    const load = USERS.map(async (user) => {
      await call('POST', `/engines/${user}/admit`, { body: { auto_provision: true } });
      for (let n = 0; n < 8; n += 1) {
        await Promise.all([change(user, n, '/stop'), change(user, n + 1, '/start')]);
        rounds += 1;
      }
    });
    await until('both have worked', () => rounds > USERS.length * 2);
    await victim.kill();
    dead = true;
    await Promise.all(load);
    await until('nothing is under way', async () => {
      const open = await alive.orchestrator.db.query('SELECT id FROM operations WHERE outcome IS NULL');
      return open.length === 0;
    });

    const written = await alive.orchestrator.db.query<{ id: string }>(
      'SELECT id FROM transitions WHERE product_id = $1 ORDER BY id',
      [id],
    );
    await until('all is told', () => reader.last() === written.at(-1)?.id);
    await reader.stop();
    expect(reader.state).toMatchObject({ connected: 2, resets: 0 });
    expect(reader.seen.map((event) => event.id)).toEqual(written.map((row) => row.id));
    for (const user of USERS) {
      const chain = reader.seen.filter((event) => event.user_id === user);
      expect(chain.length).toBeGreaterThan(2);
      expect(chain.map(({ from }) => from)).toEqual([null, ...chain.slice(0, -1).map(({ to }) => to)]);
    }
  });
});
