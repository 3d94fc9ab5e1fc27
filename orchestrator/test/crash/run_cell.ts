import { randomUUID } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished } from 'vitest';
import { verifyAudit } from '../../src/audit/verify.ts';
import { findByArgument } from '../../src/backends/process.ts';
import { type Db, openDb } from '../../src/registry/db.ts';
import type { EngineRow } from '../../src/registry/engines.ts';
import type { OperationRow } from '../../src/registry/operations.ts';
import { startChildOrchestrator } from '../support/child_orchestrator.ts';
import { behave, startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';
import { type Cell, type Scenario, send } from './cells.ts';

/** What is in the brain before an image changes. */
const SAID = 'what ada said;';
type Engine = { image: string; brain: string };

/**
 * Kills an orchestrator at the cell's point, starts another, and checks what became of it all; both are processes
 * of their own. Gives how long it took from that start, the boot of the process included, until the operation had
 * its outcome, milliseconds; null where the kill came before there was an operation.
 */
export async function runCell({ scenario, point }: Cell): Promise<number | null> {
  const env = {
    ...(await testEnvironment({ ORCH_WARM_POOL: scenario.warm ? '1' : '0' })),
    ORCH_ENGINE_IMAGE: 'first',
  };
  const fired = join(env.ORCH_DATA_DIR, 'fired');

  // The state before, made by an orchestrator that then goes away; at the end of the test it tidies up.
  const first = await startTestOrchestrator(env);
  await first.engines(scenario.behaviour ?? {});
  const { key } = await first.product();
  for (const request of scenario.before) await send(first.call, request, key);
  if (scenario.warm) await fillPool(first.orchestrator.db);
  await first.orchestrator.close();
  await behave(env.ORCH_DATA_DIR, { images: { next: scenario.next_image ?? {} } });
  if (scenario.next_image !== undefined) {
    env.ORCH_ENGINE_IMAGE = 'next';
    const [engine_id = ''] = await readdir(join(env.ORCH_DATA_DIR, 'engines'));
    await writeFile(join(env.ORCH_DATA_DIR, 'engines', engine_id, 'brain.sqlite'), SAID);
  }
  const db = openDb(env.ORCH_DATABASE_URL, () => {});
  onTestFinished(() => db.end());
  const earlier = (await db.query<{ id: string }>('SELECT id FROM operations')).map(({ id }) => id);

  // The request, and the kill in the middle of it.
  const victim = await startChildOrchestrator({
    ...env,
    ORCH_FAILPOINT: point,
    ORCH_FAILPOINT_SIGNAL: 'SIGKILL',
    ORCH_FAILPOINT_FILE: fired,
  });
  if (scenario.warm) await adoptions(db, 1);
  const once = { 'Idempotency-Key': randomUUID() };
  const lost = send(victim.call, scenario.request, key, once).catch(() => null);
  await victim.exited;
  expect(await readFile(fired, 'utf8'), 'the fault landed').toBe(`${point}\n`);
  expect((await lost)?.status, 'nobody was answered').toBeUndefined();

  // The next start.
  const began = performance.now();
  const next = await startChildOrchestrator(env);
  const [operation] = await operationsOf(db, scenario, earlier);
  if (scenario.warm && operation === undefined) await adoptions(db, 2);
  let settled_ms: number | null = null;
  if (operation !== undefined) {
    await until('it has an outcome', async () => {
      return (await next.call('GET', `/operations/${operation.id}`, { key })).body.ended_at !== null;
    });
    settled_ms = performance.now() - began;
  }
  // The caller, who got no answer, asks again.
  expect((await send(next.call, scenario.request, key, once)).status).toBe(200);
  const operations = await operationsOf(db, scenario, earlier);
  expect(operations, 'the repeated request began nothing').toHaveLength(1);
  if (operation !== undefined) expect(operations[0]?.id).toBe(operation.id);
  await checkEnd(db, env, scenario, operations[0]);
  if (scenario.end?.status === 'running') {
    const { body: engine } = await next.call('GET', '/engines/ada', { key });
    const headers = { 'X-Engine-Key': engine.api_key };
    const activity = await fetch(`${engine.url}/activity`, { headers });
    expect(activity.status, 'the registry knows the key').toBe(200);
    if (scenario.brain !== undefined) {
      const { image, brain } = (await (await fetch(`${engine.url}/`, { headers })).json()) as Engine;
      expect({ image, brain }).toEqual({ image: scenario.image, brain: `${SAID}${scenario.brain}` });
      expect(engine.engine_version).toBe(scenario.image);
    }
  }
  return settled_ms;
}

/** Waits for the engine of the pool, and stops its keeper from making another: that one would come by the points too. */
async function fillPool(db: Db): Promise<void> {
  await until('an engine stands ready', async () => {
    const [engine] = await db.query<EngineRow>('SELECT * FROM engines WHERE product_id IS NULL');
    return engine?.status === 'running';
  });
  await db.query("UPDATE turns SET next_at = 'infinity' WHERE name = 'warm pool'");
}

/** Waits until so many orchestrators have taken the engine over: while one writes that down, a provision passes it over. */
const adoptions = (db: Db, count: number) =>
  until('the engine is taken over', async () => {
    return (await db.query("SELECT 1 FROM audit_log WHERE action = 'adopt'")).length >= count;
  });

const operationsOf = (db: Db, { kind }: Scenario, earlier: string[]) =>
  db.query<OperationRow>('SELECT * FROM operations WHERE kind = $1 AND id <> ALL ($2)', [kind, earlier]);

async function checkEnd(
  db: Db,
  env: { ORCH_DATA_DIR: string; ORCH_PORT_MIN: string },
  scenario: Scenario,
  operation: OperationRow | undefined,
) {
  if (operation === undefined) throw new Error('there is no operation');
  expect(operation.outcome).toBe('succeeded');
  expect(operation.ended_at?.getTime(), 'within its deadline').toBeLessThan(operation.deadline.getTime());

  const audit = await db.query<{ outcome: string }>(
    "SELECT metadata->>'outcome' AS outcome FROM audit_log WHERE metadata->>'operation_id' = $1 AND metadata ? 'outcome'",
    [operation.id],
  );
  expect(audit, 'its end is audited, once').toEqual([{ outcome: 'succeeded' }]);

  expect((await verifyAudit(db)).broken, 'no row of the audit log is missing').toEqual([]);

  const { engine_id } = operation;
  const [row] = await db.query<EngineRow>('SELECT * FROM engines WHERE id = $1', [engine_id]);
  expect(row && { status: row.status, sleep_depth: row.sleep_depth }).toEqual(scenario.end ?? undefined);
  const up =
    scenario.end !== null && (scenario.end.status === 'running' || scenario.end.sleep_depth === 'doze');

  const processes = await findByArgument(`--engine=${engine_id}/`);
  expect(processes, 'no process too many, none too few').toHaveLength(up ? 1 : 0);
  const engines = join(env.ORCH_DATA_DIR, 'engines');
  const record = up ? JSON.parse(await readFile(join(engines, engine_id, 'process.json'), 'utf8')) : null;
  if (record !== null) expect(record).toMatchObject({ pid: processes[0]?.pid, epoch: row?.epoch });

  const folders = await readdir(engines);
  expect(folders, 'no folder too many').toEqual(scenario.end === null ? [] : [engine_id]);
  const ports = await db.query<{ port: number }>('SELECT port FROM ports WHERE engine_id IS NOT NULL');
  const hasPort = scenario.end !== null && scenario.end.status !== 'destroyed';
  expect(ports, 'no port too many').toHaveLength(hasPort ? 1 : 0);
  const port_min = Number(env.ORCH_PORT_MIN);
  for (let port = port_min; port <= port_min + 2; port += 1) {
    expect(await listens(port), `port ${port}`).toBe(port === record?.port);
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => socket.destroy(void resolve(true)));
    socket.once('error', () => resolve(false));
  });
}
