import { describe, expect, it } from 'vitest';
import { mortalPostgres } from '../support/mortal_postgres.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

/** A PostgreSQL of its own, started twice, on a machine that is busy with other tests, milliseconds. */
const TIME_LIMIT_MS = 90_000;
const both = { auto_provision: true, auto_wake: true };
const USERS = ['ada', 'bob', 'cy', 'dee'];
/** Clients of the orchestrator, and of the engines. */
const CLIENTS = 8;
/** A start of PostgreSQL with crash recovery, and then some, on a busy machine, milliseconds. */
const BOUND_MS = 10_000;

describe('PostgreSQL killed and restarted under load', () => {
  it(
    'is answered with 503 meanwhile and no other failure; no turn fails, no engine is touched',
    async ({ annotate }) => {
      const postgres = await mortalPostgres();
      const o = await startTestOrchestrator(
        testEnvironment({
          ORCH_DATABASE_URL: postgres.url,
          ORCH_HEALTH_CHECK_INTERVAL_S: '2',
          ORCH_HEALTH_CHECK_TIMEOUT_S: '1',
          ORCH_HEALTH_MAX_FAILURES: '1',
          ORCH_RECONCILE_INTERVAL_S: '1',
          ORCH_RESTART_BACKOFF_BASE_S: '1',
        }),
      );
      const { call } = await o.product();
      const engines = await Promise.all(
        USERS.map(async (user) => (await call('POST', `/engines/${user}/admit`, { body: both })).body.engine),
      );
      const processes = await Promise.all(engines.map(({ engine_id }) => o.processOf(engine_id)));

      let over = false;
      const seen = { served: 0, away: 0, turns: 0, served_at: 0 };
      const admitAgainAndAgain = async (user: string) => {
        while (!over) {
          const { status, body, headers } = await call('POST', `/engines/${user}/admit`, { body: both });
          if (status === 200) {
            expect(body.admitted).toBe(true);
            seen.served += 1;
            seen.served_at = performance.now();
          } else {
            expect([status, body.error?.code, headers.get('retry-after')]).toEqual([503, 'NOT_READY', '2']);
            seen.away += 1;
          }
        }
      };
      const talkAgainAndAgain = async ({ url, api_key }: { url: string; api_key: string }) => {
        while (!over) {
          const { status } = await fetch(`${url}/execute`, { headers: { 'X-Engine-Key': api_key } });
          expect(status).toBe(200);
          seen.turns += 1;
        }
      };
      const load = Promise.all(
        Array.from({ length: CLIENTS }, (_, n) => [
          admitAgainAndAgain(USERS[n % USERS.length] ?? ''),
          talkAgainAndAgain(engines[n % engines.length]),
        ]).flat(),
      ).finally(() => {
        over = true;
      });
      const goesOn = (what: 'served' | 'away' | 'turns', more: number) => {
        const limit = seen[what] + more;
        return until(`${what} ${more} times more`, () => over || seen[what] >= limit);
      };

      await goesOn('served', 100);
      await postgres.kill();
      await goesOn('away', 100);
      await goesOn('turns', 100);
      seen.served_at = 0;
      await postgres.comeBack();
      const back_at = performance.now();
      await until('it serves', () => over || seen.served_at > 0);
      const recovered_ms = Math.max(0, Math.round(seen.served_at - back_at));
      await goesOn('served', 100);
      over = true;
      await load;
      expect(recovered_ms).toBeLessThan(BOUND_MS);
      await annotate(`served ${recovered_ms} ms after PostgreSQL took connections again`);

      for (const { pid } of processes) expect(await processIsThere(pid)).toBe(true);
      const touched = await o.orchestrator.db.query(
        "SELECT kind FROM operations WHERE kind <> 'provision' UNION ALL SELECT action FROM audit_log WHERE action = 'health_failed'",
      );
      expect(touched).toEqual([]);
    },
    TIME_LIMIT_MS,
  );
});
