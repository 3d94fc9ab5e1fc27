/**
 * Probes: each running engine is asked every `ORCH_HEALTH_CHECK_INTERVAL_S` how it is.
 *
 * The hard part is what an ill answer means. A process that is gone needs no second look. One that is there
 * and does not answer may be busy, so only `ORCH_HEALTH_MAX_FAILURES` ill probes in a row fail it. And while
 * the backend cannot be asked, nothing is done at all: unknown is not dead (O12).
 *
 * Almost every probe finds what the one before found, so that costs one write for many engines; only what
 * changes is written, and audited, by itself. Source: bap-engine §7, O11, O20.
 */
import { appendAudit } from '../audit/append.ts';
import type { Backend } from '../backends/contract.ts';
import type { HealthSettings, RestartPolicy } from '../config.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Ask } from '../lifecycle/ask.ts';
import { settleKey } from '../lifecycle/key_rotation.ts';
import type { Lifecycle } from '../lifecycle/operations.ts';
import { probeHealth } from '../lifecycle/probe.ts';
import type { Log } from '../observe/log.ts';
import type { Tally } from '../observe/tally.ts';
import type { Db } from '../registry/db.ts';
import {
  claimProbes,
  noteProbe,
  noteStillWell,
  type ProbedEngine,
  type ProbeOutcome,
} from '../registry/health.ts';

/** Engines asked side by side, by one orchestrator. */
const PARALLEL = 50;
/** One probe in so many leaves an audit row, whatever it found. */
const AUDIT_EVERY = 100;

export type ProbeDeps = {
  db: Db;
  backend: Backend;
  lifecycle: Lifecycle;
  master_keys: MasterKeys;
  ask: Ask;
  log: Log;
  tally: Tally;
  health: HealthSettings;
  restarts: RestartPolicy;
};

/** Probes every engine that is due, and returns when none is left; the run of a loop. */
export async function probeDue(deps: ProbeDeps, signal: AbortSignal): Promise<void> {
  const { db, log } = deps;
  const underWay = new Set<Promise<void>>();
  let stillWell: string[] = [];
  for (;;) {
    const due = signal.aborted ? [] : await claimProbes(db, PARALLEL - underWay.size, deps.health.interval_s);
    for (const engine of due) {
      const probed = probeOne(deps, engine, signal)
        .then((unchanged) => {
          if (unchanged) stillWell.push(engine.id);
        })
        .catch((err) => log.warn({ engine_id: engine.id, err }, 'a probe came to nothing'))
        .finally(() => underWay.delete(probed));
      underWay.add(probed);
    }
    // The next are claimed when half of the places are free: one engine that hangs must not hold up the others.
    const enough = due.length === 0 ? 0 : PARALLEL / 2;
    while (underWay.size > enough) await Promise.race(underWay);
    if (stillWell.length > 0) {
      const ids = stillWell;
      stillWell = [];
      await noteStillWell(db, ids, deps.restarts.reset_after_s);
    }
    if (due.length === 0) return;
  }
}

/** Asks one engine; true when it is well, as it was before, and nothing needed to be noted. */
async function probeOne(deps: ProbeDeps, engine: ProbedEngine, signal: AbortSignal): Promise<boolean> {
  const { db, health } = deps;
  const outcome: ProbeOutcome =
    engine.url === null
      ? { health: 'ill', seen: 'no address' }
      : await probeHealth(deps.ask, engine.url, health.timeout_s * 1000, signal);
  if (outcome.health !== 'ill') await settleKey(deps, engine, signal);
  deps.tally.probe(outcome.health);
  const changed = outcome.health !== engine.health;
  const audited = changed || engine.probes % AUDIT_EVERY === 0;
  if (outcome.health === 'ok' && !audited) return true;

  const ill_probes = await db.tx(async (sql) => {
    const noted = await noteProbe(sql, engine, outcome);
    if (noted === null || !audited) return noted;
    await appendAudit(sql, {
      product_id: engine.product_id,
      user_id: engine.user_id,
      engine_id: engine.id,
      action: 'health_check',
      actor: 'system',
      metadata: { health: outcome.health, was: engine.health, seen: outcome.seen ?? undefined },
    });
    return noted;
  });
  if (outcome.health === 'ill' && ill_probes !== null) await judge(deps, engine, outcome.seen, ill_probes);
  return false;
}

/** What follows from an ill probe. */
async function judge(deps: ProbeDeps, engine: ProbedEngine, seen: string | null, ill_probes: number) {
  const { backend, lifecycle, log, health } = deps;
  const presence = await backend.is_running(engine.id);
  const evidence = { found_by: 'probe' as const, seen, ill_probes };
  if (presence.state === 'unknown') {
    const { reason } = presence;
    log.warn({ engine_id: engine.id, reason, seen }, 'an ill engine cannot be found out about; left alone');
  } else if (presence.state === 'absent') {
    await lifecycle.fail(engine.id, engine.epoch, 'The engine is gone.', {
      ...evidence,
      exit: presence.exit,
    });
  } else if (ill_probes >= health.max_failures) {
    const reason = `The engine was ill ${ill_probes} times in a row: ${seen}.`;
    await lifecycle.fail(engine.id, engine.epoch, reason, evidence);
  }
}
