import { randomUUID } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/lifecycle/clock.ts';
import { startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { processIsThere, until } from '../support/wait.ts';

const both = { auto_provision: true, auto_wake: true };

/** An orchestrator that reconciles every second, on a clock that can be put forward. */
async function world() {
  let ahead_ms = 0;
  const clock = { ...systemClock, now: () => systemClock.now() + ahead_ms };
  const env = await testEnvironment({ ORCH_RECONCILE_INTERVAL_S: '1' });
  const passed = new Set<string>();
  const o = await startTestOrchestrator(env, { clock, failpoint: (point) => passed.add(point) });
  const { call } = await o.product();
  const { db } = o.orchestrator;
  const engines = join(o.config.data_dir, 'engines');
  const { engine } = (await call('POST', '/engines/ada/admit', { body: both })).body;
  const id: string = engine.engine_id;
  return {
    ...{ o, call, db, engines, id, passed, process: await o.processOf(id) },
    /** Resolves when reconcile has come round twice: whatever it saw, it has acted upon. */
    async reconciled() {
      for (let round = 0; round < 2; round += 1) {
        const [before] = await db.query<{ next_at: Date }>(
          "SELECT next_at FROM turns WHERE name = 'reconcile'",
        );
        await until('reconcile came round', async () => {
          const [now] = await db.query<{ next_at: Date }>(
            "SELECT next_at FROM turns WHERE name = 'reconcile'",
          );
          return now !== undefined && now.next_at > (before?.next_at ?? now.next_at);
        });
      }
    },
    pass(ms: number) {
      ahead_ms += ms;
    },
    removed: () =>
      db.query<{ engine_id: string; metadata: object }>(
        "SELECT engine_id, metadata FROM audit_log WHERE action = 'orphan_removed'",
      ),
  };
}

describe('what stands without a row', () => {
  it('is removed with its data when it has been seen for a minute, and not before', async () => {
    const w = await world();
    await w.db.query('DELETE FROM engines');
    await w.reconciled();
    w.pass(30_000);
    await w.reconciled();
    expect(await processIsThere(w.process.pid)).toBe(true);
    w.pass(31_000);
    await until('it is removed', async () => (await readdir(w.engines)).length === 0);
    expect(await processIsThere(w.process.pid)).toBe(false);
    expect(await w.removed()).toEqual([{ engine_id: w.id, metadata: { orphan: 'without a row', epoch: 1 } }]);
  });

  it('is left alone when this registry never knew it, or it cannot be made out', async () => {
    const w = await world();
    const strange = randomUUID();
    await mkdir(join(w.engines, strange));
    await mkdir(join(w.engines, 'lost+found'));
    await writeFile(join(w.engines, w.id, 'process.json'), '{"half');
    onTestFinished(() => void process.kill(w.process.pid, 'SIGKILL'));
    await w.db.query('DELETE FROM engines');
    await w.reconciled();
    w.pass(120_000);
    await w.reconciled();
    expect((await readdir(w.engines)).sort()).toEqual([w.id, strange, 'lost+found'].sort());
    expect(await processIsThere(w.process.pid)).toBe(true);
    expect(await w.removed()).toEqual([]);
    for (const id of [w.id, strange]) {
      expect(w.o.logged()).toMatch(new RegExp(`"engine_id":"${id}".*left alone`));
    }
  });

  it.each([
    ['stopped', "status = 'stopped'", 'start'],
    [
      'destroyed',
      "status = 'destroyed', destroyed_at = now(), tombstone_until = now() + interval '1 day'",
      'restore',
    ],
  ])('or of an engine that is %s is ended, its data stays', async (_, state, wayBack) => {
    const w = await world();
    await w.db.query(`UPDATE engines SET ${state}`);
    await w.reconciled();
    w.pass(61_000);
    await until('it is ended', async () => !(await processIsThere(w.process.pid)));
    expect(await readdir(w.engines)).toEqual([w.id]);
    await until('it is noted', async () => (await w.removed()).length === 1);
    expect((await w.removed())[0]?.metadata).toEqual({ orphan: 'of an engine that is down', epoch: 1 });
    expect((await w.call('POST', `/engines/ada/${wayBack}`)).status).toBe(200);
  });

  it('but with an operation under way is left to that', async () => {
    const w = await world();
    await w.o.engines({ stubborn: true });
    w.call('POST', '/engines/ada/stop').catch(() => {});
    await until('it is being stopped', () => w.passed.has('stop.before'));
    await w.db.query('DELETE FROM engines');
    await w.reconciled();
    w.pass(120_000);
    await w.reconciled();
    expect(await processIsThere(w.process.pid)).toBe(true);
    expect(await w.removed()).toEqual([]);
  });
});

describe('a row without a process', () => {
  it('is found also when neither its end was told nor a probe is due', async () => {
    const w = await world();
    // Of a later epoch than the process whose end is told.
    await w.db.query("UPDATE engines SET epoch = 2, next_probe_at = now() + interval '1 day'");
    process.kill(w.process.pid, 'SIGKILL');
    const [failed] = await until('it is failed', async () => {
      const rows = await w.db.query<{ metadata: object }>(
        "SELECT metadata FROM audit_log WHERE action = 'health_failed'",
      );
      return rows.length > 0 && rows;
    });
    expect(failed?.metadata).toMatchObject({ found_by: 'reconcile', reason: 'The engine is gone.' });
    expect((await w.call('POST', '/engines/ada/admit', { body: both })).body.admitted).toBe(true);
  });
});
