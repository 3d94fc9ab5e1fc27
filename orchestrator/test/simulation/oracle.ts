/**
 * What must be true. The oracle reads the registry beside the orchestrators, under no fault, and compares it
 * with what the witness saw and what the clients were told; the rules are in docs/reliability.md.
 */
import { verifyAudit } from '../../src/audit/verify.ts';
import type { RestartPolicy } from '../../src/config.ts';
import { SCAN_S } from '../../src/lifecycle/idle.ts';
import { OPERATIONS, takesEpoch } from '../../src/lifecycle/machine.ts';
import { backoff } from '../../src/lifecycle/restarts.ts';
import type { EngineStatus, SleepDepth } from '../../src/registry/engines.ts';
import type { OperationKind } from '../../src/registry/operations.ts';
import type { Clients, Product } from './clients.ts';
import { codeOf } from './clients.ts';
import { type Database, EPOCH_MS } from './database.ts';
import { type Engines, isBroken } from './engines.ts';
import type { Scheduler } from './scheduler.ts';
import type { Witness } from './witness.ts';

/**
 * How long past its deadline an operation may be unfinished, milliseconds: the failed boot is ended, which a
 * slow backend may take 15 s for, and all that once more where the database's reply was lost.
 */
const DEADLINE_GRACE_MS = 40_000;
/** What a replica that comes up gives the operations it finds, milliseconds (lifecycle/runner.ts). */
const LAST_CHANCE_MS = 20_000;
/** How much later than at the next scan an idle engine may fall asleep, milliseconds. */
const IDLE_SLACK_MS = 5_000;
const TAKES_EPOCH = (Object.keys(OPERATIONS) as OperationKind[]).filter(takesEpoch);
/** A jitter of ten percent. */
const EARLIEST = 0.9;

type EngineLine = {
  id: string;
  product_id: string;
  user_id: string;
  status: EngineStatus;
  epoch: number;
  sleep_depth: SleepDepth | null;
  restart_attempts: number;
  restart_at: Date | null;
  under_way: number;
  kind: OperationKind | null;
  deadline: Date | null;
};

export type OracleDeps = {
  database: Database;
  scheduler: Scheduler;
  witness: Witness;
  engines: Engines;
  clients: Clients;
  products: readonly Product[];
  restarts: RestartPolicy;
  idle_timeout_ms: number;
  canary_percent: number;
  /** When something last stood in the orchestrators' way: none there, one frozen, the database away. */
  disturbed_at: () => number;
  /** Since when nothing goes wrong any more; null in a storm. */
  calm_since: () => number | null;
};

export type Oracle = ReturnType<typeof createOracle>;

export function createOracle(deps: OracleDeps) {
  const { database, scheduler, witness, engines, clients, restarts } = deps;
  const epochs = new Map<string, number>();
  const rowsBefore = new Map<string, number>();
  let audited = 0;

  async function lines(): Promise<EngineLine[]> {
    return await database.query<EngineLine>(
      `SELECT e.id, e.product_id, e.user_id, e.status, e.epoch, e.sleep_depth, e.restart_attempts, e.restart_at,
              (SELECT count(*)::int FROM operations o WHERE o.engine_id = e.id AND o.outcome IS NULL) AS under_way,
              o.kind, o.deadline
         FROM engines e LEFT JOIN operations o ON o.engine_id = e.id AND o.outcome IS NULL ORDER BY e.id`,
      [],
    );
  }

  /** What holds at every moment. */
  async function look(): Promise<void> {
    const all = await lines();
    for (const engine of all) lookAt(engine);
    await lookAtQuota(all);
    await lookAtShare();
  }

  function lookAt(engine: EngineLine): void {
    const { id, status, epoch } = engine;
    const now = scheduler.now();
    if ((epochs.get(id) ?? 0) > epoch)
      witness.violation('epochs', id, `epoch ${epoch} after ${epochs.get(id)}`);
    epochs.set(id, epoch);
    if (engine.under_way > 1)
      witness.violation('single flight', id, `${engine.under_way} operations under way`);
    if (engine.deadline === null) {
      if (status === 'provisioning' || status === 'destroying') {
        witness.violation('deadlines', id, `${status} without an operation`);
      }
    } else {
      const due = Math.max(engine.deadline.getTime() - EPOCH_MS, deps.disturbed_at() + LAST_CHANCE_MS);
      if (now > due + DEADLINE_GRACE_MS) {
        witness.violation('deadlines', id, `a ${engine.kind} under way ${now - due} ms past its deadline`);
      }
    }
    if (engine.restart_attempts > restarts.max_attempts) {
      witness.violation('restarts', id, `${engine.restart_attempts} attempts`);
    }
    const calm_since = deps.calm_since();
    if (calm_since !== null && status === 'running' && engine.under_way === 0) lookAtIdle(id, calm_since);
  }

  function lookAtIdle(id: string, calm_since: number): void {
    const [process] = engines.placeOf(id).processes;
    if (process === undefined || process.turns.size > 0) return;
    const used_at = Math.max(calm_since, process.used_at, witness.admittedAt(id));
    const late_ms = scheduler.now() - used_at - deps.idle_timeout_ms - SCAN_S * 1100;
    if (late_ms > IDLE_SLACK_MS) witness.violation('idle', id, `awake ${late_ms} ms longer than it may`);
  }

  async function lookAtQuota(all: readonly EngineLine[]): Promise<void> {
    const counted = await database.query<{ id: string; engine_count: number }>(
      'SELECT id, engine_count FROM products',
      [],
    );
    for (const { id, engine_count } of counted) {
      const rows = all.filter(({ product_id }) => product_id === id).length;
      const product = deps.products.find((one) => one.id === id);
      const cap = Math.max(...(product?.caps ?? [Infinity]), rowsBefore.get(id) ?? 0);
      if (rows !== engine_count) witness.violation('quota', null, `${engine_count} counted, ${rows} there`);
      if (rows > cap) witness.violation('quota', null, `${rows} engines of ${product?.slug}, cap ${cap}`);
      rowsBefore.set(id, rows);
    }
  }

  /** A broken image has touched no more engines than the canary share since somebody said that it may go on. */
  async function lookAtShare(): Promise<void> {
    const share = Math.max(1, Math.floor((clients.users.length * deps.canary_percent) / 100));
    const touched = await database.query<{ image: string; engines: number }>(
      `SELECT r.image, count(DISTINCT o.engine_id)::int AS engines
         FROM rollouts r JOIN operations o ON o.image = r.image AND o.created_at >= r.resumed_at
        WHERE o.step NOT IN ('thaw', 'confirm_idle') GROUP BY 1`,
      [],
    );
    for (const { image, engines } of touched) {
      if (!isBroken(image) || engines <= share) continue;
      witness.violation('upgrades', null, `${image} has touched ${engines} engines, ${share} are the share`);
    }
  }

  /** What is not yet as it has to be when all is quiet; for people. */
  async function unsettled(): Promise<{ id: string | null; what: string }[]> {
    const found: { id: string | null; what: string }[] = [];
    const all = await lines();
    for (const engine of all) {
      const what = unsettledIn(engine);
      if (what !== null) found.push({ id: engine.id, what });
    }
    const known = new Set(all.map(({ id }) => id));
    for (const [id, place] of engines.places) {
      if (known.has(id)) continue;
      if (place.processes.length > 0) found.push({ id, what: 'a process of an engine that is destroyed' });
      if (place.brain !== null) found.push({ id, what: 'the brain of an engine that is destroyed' });
    }
    if (clients.underWay() > 0)
      found.push({ id: null, what: `${clients.underWay()} clients without an answer` });
    return found;
  }

  function unsettledIn(engine: EngineLine): string | null {
    const { id, status, epoch, kind, restart_at } = engine;
    const { processes, highest } = engines.placeOf(id);
    const [process] = processes;
    if (kind !== null) return `a ${kind} is under way`;
    if (status === 'failed') return restart_at === null ? null : 'a restart is planned';
    if (highest > epoch) return `acted for at epoch ${highest}, the registry has ${epoch}`;
    if (processes.length > 1) return `${processes.length} processes`;
    if (process !== undefined && process.epoch < highest)
      return `a process of epoch ${process.epoch} after ${highest}`;
    if (status === 'running') {
      if (process === undefined) return 'running, without a process';
      if (process.frozen) return 'running, but it stands still';
      return process.state === 'serving' ? null : `running, but it is ${process.state}`;
    }
    const down = status === 'stopped' || engine.sleep_depth === 'hibernate';
    return down && process !== undefined ? `${status}, but a process is there` : null;
  }

  /** What the books say of the whole run so far. */
  async function audit(): Promise<void> {
    const unaudited = await database.query<{ id: string; engine_id: string; kind: string; rows: number }>(
      `SELECT o.id, o.engine_id, o.kind, count(a.id)::int AS rows
         FROM operations o
         LEFT JOIN audit_log a ON a.metadata->>'operation_id' = o.id::text AND a.action <> 'auto_restart_start'
        WHERE o.outcome IS NOT NULL GROUP BY o.id HAVING count(a.id) <> 1`,
      [],
    );
    for (const { engine_id, kind, rows } of unaudited) {
      witness.violation('one outcome', engine_id, `a ${kind} has ${rows} audit rows`);
    }
    for (const { why } of (await verifyAudit(database)).broken) {
      witness.violation('one outcome', null, `the audit log's chain is broken: ${why}`);
    }
    // Every take-up of what starts or freezes a process is an epoch of its own.
    const shared = await database.query<{ engine_id: string; epoch: number }>(
      `SELECT engine_id, epoch FROM operations WHERE kind = ANY($1) AND attempt > 0
        GROUP BY engine_id, epoch HAVING count(*) > 1`,
      [TAKES_EPOCH],
    );
    for (const { engine_id, epoch } of shared) {
      witness.violation('epochs', engine_id, `two operations worked at epoch ${epoch}`);
    }
    await compareTold();
    await judgeFailures();
    await judgeRestarts();
  }

  /** What clients were told, and what the operation's row says. */
  async function compareTold(): Promise<void> {
    const rows = await database.query<{
      scope: string;
      key: string;
      id: string;
      engine_id: string;
      outcome: string | null;
      error_code: string | null;
    }>(
      // A failed upgrade that has been made good is as if it had not failed.
      `SELECT k.scope, k.key, o.id, o.engine_id, coalesce(n.outcome, o.outcome) AS outcome,
              CASE WHEN n.id IS NULL THEN o.error_code ELSE n.error_code END AS error_code
         FROM idempotency_keys k JOIN operations o ON o.id = k.operation_id
         LEFT JOIN operations n ON n.id = o.followed_by`,
      [],
    );
    const byKey = new Map(rows.map((row) => [`${row.scope} ${row.key}`, row]));
    const halfDestroyed = await database.query<{ product_id: string }>(
      "SELECT DISTINCT product_id FROM operations WHERE kind = 'destroy' AND outcome = 'failed'",
      [],
    );
    const hasHalfDestroyed = new Set(halfDestroyed.map((row) => row.product_id));
    for (const { product_id, key, what, tries, answer } of clients.told) {
      const row = byKey.get(`${product_id} ${key}`);
      const code = codeOf(answer);
      const says = `${what}, key ${key}: told ${answer.status} ${code ?? ''}`;
      const wrong = (how: string) =>
        witness.violation('one outcome', row?.engine_id ?? null, `${says}, ${how}`);
      if (answer.status === 202) {
        if (row?.id !== answer.body.id) wrong(`but the key stands for ${row?.id ?? 'nothing'}`);
      } else if (row === undefined) {
        // A sleep or wake that was not needed begins nothing.
        const needless = answer.status === 200 && (what === 'sleep' || what === 'wake');
        const refused = answer.status >= 400 && answer.status < 500;
        // What a destroy has failed to remove cannot be brought up any more: nothing begins either.
        const isPastUse = code === 'BACKEND_ERROR' && hasHalfDestroyed.has(product_id);
        if (!needless && !refused && !isPastUse && code !== 'NOT_READY') wrong('but there is no operation');
      } else if (answer.status === 200) {
        if (row.outcome !== 'succeeded') wrong(`but it ${row.outcome ?? 'has not ended'}`);
      } else if (answer.status >= 500 && code !== 'NOT_READY') {
        if (row.error_code !== code) wrong(`but it ended ${row.error_code ?? row.outcome}`);
      } else if (tries === 1 && !canFollowABeginning(code, what)) {
        wrong('but it began an operation');
      }
    }
    clients.told.length = 0;
  }

  /** No engine is held for failed that was neither gone nor ill nor out of reach. */
  async function judgeFailures(): Promise<void> {
    const failures = await database.query<{
      id: number;
      engine_id: string;
      at: Date;
      why: string;
      by: string;
    }>(
      `SELECT id::int, engine_id, timestamp AS at, metadata->>'reason' AS why, metadata->>'found_by' AS by
         FROM audit_log WHERE action = 'health_failed' AND id > $1 ORDER BY id`,
      [audited],
    );
    for (const { id, engine_id, at, why, by } of failures) {
      audited = id;
      const at_ms = at.getTime() - EPOCH_MS;
      if (witness.lifeAt(engine_id, at_ms) === null || witness.seemedIll(engine_id, at_ms, 60_000)) continue;
      witness.violation('unknown is not dead', engine_id, `failed at ${at_ms} ms, found by ${by}: ${why}`);
    }
  }

  /** No restart comes before its pause is over (bap-engine §7). */
  async function judgeRestarts(): Promise<void> {
    const history = await database.query<{
      engine_id: string;
      kind: OperationKind | 'health_failed';
      actor: string;
      outcome: 'succeeded' | 'failed' | null;
      from: Date;
      to: Date | null;
    }>(
      `SELECT engine_id, kind, actor, outcome, created_at AS from, ended_at AS to FROM operations
        UNION ALL
       SELECT engine_id, action, actor, 'failed', timestamp, timestamp FROM audit_log WHERE action = 'health_failed'
        ORDER BY engine_id, "from", "to"`,
      [],
    );
    let [engine_id, failed_at, failed_restarts] = ['', 0, 0];
    for (const line of history) {
      if (line.engine_id !== engine_id) [engine_id, failed_at, failed_restarts] = [line.engine_id, 0, 0];
      if (line.kind === 'restart' && line.actor === 'system') {
        const pause_ms = backoff(failed_restarts + 1, restarts) * 1000 * EARLIEST;
        const after_ms = line.from.getTime() - failed_at;
        if (after_ms < pause_ms) {
          witness.violation('restarts', engine_id, `restart after ${after_ms} ms, ${pause_ms} ms are due`);
        }
      }
      if (line.outcome === 'failed') failed_at = line.to?.getTime() ?? 0;
      if (line.kind === 'restart' && line.outcome === 'failed') failed_restarts += 1;
      else if (line.kind !== 'health_failed') failed_restarts = 0;
    }
  }

  return { look, lines, unsettled, audit };
}

/** Answers below 500 that a caller may get although something was begun: what was begun was overtaken. */
const canFollowABeginning = (code: string | null, what: string) =>
  what === 'provision' || ['NOT_READY', 'OPERATION_IN_PROGRESS', 'ENGINE_NOT_FOUND'].includes(code ?? '');
