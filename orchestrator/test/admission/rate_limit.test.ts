/** The rate limit over two orchestrators, one of which is killed on the way (O17). The rule itself: registry/rate_limit. */
import { rm } from 'node:fs/promises';
import { expect, it, onTestFinished } from 'vitest';
import { openDb } from '../../src/registry/db.ts';
import { startChildOrchestrator } from '../support/child_orchestrator.ts';
import { ADMIN, type Answer, testEnvironment } from '../support/orchestrator.ts';

const RPM = 60;
/** Two orchestrators start, one of them twice, on a machine that is busy with other tests, milliseconds. */
const TIME_LIMIT_MS = 120_000;

it(
  'admits exactly 60 in any 60 seconds, over two replicas and a restart in the middle',
  async () => {
    const env = await testEnvironment();
    onTestFinished(() => rm(env.ORCH_DATA_DIR, { recursive: true, force: true }));
    const db = openDb(env.ORCH_DATABASE_URL, () => {});
    onTestFinished(() => db.end());
    const first = await startChildOrchestrator(env);
    const second = await startChildOrchestrator(env);
    const { body } = await first.call('POST', '/products/register', {
      admin: ADMIN,
      body: { slug: 'limited', display_name: 'Limited', policy: { rate_limit_rpm: RPM } },
    });
    const key: string = body.platform_api_key;
    const admits = async (replicas: { call: typeof first.call }[], count: number) => {
      const answers = await Promise.all(
        Array.from({ length: count }, async (_, n) =>
          replicas[n % replicas.length]?.call('POST', `/engines/user-${n}/admit`, { key }),
        ),
      );
      const with_status = (status: number) => answers.filter((answer) => answer?.status === status);
      expect(with_status(200).length + with_status(429).length).toBe(count);
      return { admitted: with_status(200).length, refused: with_status(429) };
    };
    /** Moves all admits in time, so that number `n` was so many seconds ago. */
    const age = (n: number, seconds: number) =>
      db.query(
        `UPDATE admits SET at = at + (clock_timestamp() - make_interval(secs => $2)
                                      - (SELECT at FROM admits WHERE n = $1))`,
        [n, seconds],
      );
    const waitOf = (answer: Answer | undefined) => Number(answer?.headers.get('retry-after'));

    expect(await admits([first, second], 20)).toEqual({ admitted: 20, refused: [] });
    await age(20, 30);
    const filled = await admits([first, second], 100);
    expect(filled.admitted, 'what was left of the window').toBe(40);

    await first.kill();
    const third = await startChildOrchestrator(env);
    await age(20, 50);
    const early = await admits([second, third], 100);
    expect(early.admitted, 'after the restart, before the first have left the window').toBe(0);
    for (const answer of early.refused) {
      expect(waitOf(answer)).toBeGreaterThan(0);
      expect(waitOf(answer)).toBeLessThanOrEqual(10);
    }

    await age(20, 60);
    expect((await admits([second, third], 100)).admitted, 'as many as have left it').toBe(20);
    await age(60, 60);
    expect((await admits([second, third], 100)).admitted, 'and then the others').toBe(40);

    // Whatever is still written down: no 61 of them in 60 seconds.
    const [row] = await db.query<{ least_s: number; pairs: number }>(
      `SELECT min(extract(epoch FROM later.at - earlier.at))::float8 AS least_s, count(*)::int AS pairs
         FROM admits earlier JOIN admits later ON later.n = earlier.n + $1`,
      [RPM],
    );
    // The first 20 have been cleared away by then.
    expect(row?.pairs).toBeGreaterThanOrEqual(40);
    expect(row?.least_s).toBeGreaterThanOrEqual(60);
  },
  TIME_LIMIT_MS,
);
