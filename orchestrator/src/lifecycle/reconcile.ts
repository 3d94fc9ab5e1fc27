/**
 * What the registry says and what is really there, brought together at the start of an orchestrator.
 *
 * The orchestrator may have been killed, or the machine switched off, at any moment. Engines outlive it: one
 * that is there, in the registry's epoch, is taken over as it is. One that is gone is restarted, a few at a
 * time; until then it is `failed`, because that is the truth, and an admit joins its restart or brings it
 * forward. An answer that is neither changes nothing: unknown is not dead (O12, O24).
 */
import { appendAudit } from '../audit/append.ts';
import type { EngineRow } from '../registry/engines.ts';
import { settledEngines, updateEngine } from '../registry/engines.ts';
import type { Lifecycle } from './operations.ts';
import { probe } from './probe.ts';
import type { Runner, RunnerDeps } from './runner.ts';

/** Engines looked at side by side. */
const PARALLEL = 50;

export type ReconcileDeps = RunnerDeps & { lifecycle: Lifecycle; runner: Runner };

/**
 * Takes up unfinished operations and compares every `running` engine with the backend. When it returns, each
 * engine that is gone has its restart in the registry, so that no admit gets the address of a dead one; the
 * restarts themselves, and the talk to engines taken over, go on in the background until `signal` fires.
 */
export async function reconcile(deps: ReconcileDeps, signal: AbortSignal): Promise<void> {
  await deps.runner.resume();
  const running = await settledEngines(deps.db, 'running');
  for (let from = 0; from < running.length; from += PARALLEL) {
    await Promise.all(running.slice(from, from + PARALLEL).map((engine) => compare(deps, engine, signal)));
  }
}

async function compare(deps: ReconcileDeps, engine: EngineRow, signal: AbortSignal): Promise<void> {
  const { backend, lifecycle, log } = deps;
  const presence = await backend.is_running(engine.id);
  if (presence.state === 'unknown') {
    log.warn(
      { engine_id: engine.id, reason: presence.reason },
      'engine cannot be found out about; left alone',
    );
  } else if (presence.state === 'present' && presence.epoch === engine.epoch) {
    void adopt(deps, engine, signal).catch((error) => {
      log.warn({ engine_id: engine.id, err: error }, 'engine taken over without a word from it');
    });
  } else {
    const reason =
      presence.state === 'absent'
        ? 'The engine was not there when the orchestrator started.'
        : `Epoch ${presence.epoch} was there when the orchestrator started, instead of ${engine.epoch}.`;
    await lifecycle.restartGone(engine.id, reason);
  }
}

/** Greets an engine that is there, and notes that it was taken over. */
async function adopt(deps: ReconcileDeps, engine: EngineRow, signal: AbortSignal): Promise<void> {
  const api_key = deps.master_keys.open(engine.engine_key_enc);
  const seen = engine.url === null ? 'no address' : await probe(engine.url, api_key, signal);
  await deps.db.tx(async (sql) => {
    if (seen === null) await updateEngine(sql, engine.id, { last_health_at: new Date() });
    await appendAudit(sql, {
      product_id: engine.product_id,
      user_id: engine.user_id,
      engine_id: engine.id,
      action: 'adopt',
      actor: 'system',
      metadata: { epoch: engine.epoch, healthy: seen === null, seen: seen ?? undefined },
    });
  });
}
