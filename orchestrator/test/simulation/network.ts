/** The way from an orchestrator to the engines (lifecycle/ask.ts), where answers get lost or come late. */
import type { Activity, Health } from '@september/contract';
import { hashKey } from '../../src/keys/formats.ts';
import type { Ask } from '../../src/lifecycle/ask.ts';
import { EPOCH_MS } from './database.ts';
import type { EngineProcess, Engines } from './engines.ts';
import type { Faults } from './faults.ts';
import type { Random } from './random.ts';
import type { Scheduler } from './scheduler.ts';
import type { Witness } from './witness.ts';

type NetworkDeps = {
  engines: Engines;
  scheduler: Scheduler;
  random: Random;
  faults: Faults;
  witness: Witness;
  /** Engines that cannot be reached at the moment. */
  cut: ReadonlySet<string>;
};

export function createAsk(deps: NetworkDeps): Ask {
  const { engines, scheduler, random, faults, witness, cut } = deps;

  return async (url, headers, timeout_ms, signal) => {
    const { port, pathname } = new URL(url);
    const took_ms = faults.roll('network: slow') ? random.between(100, 6_000) : random.between(1, 20);
    await scheduler.sleep(Math.min(took_ms, timeout_ms), signal);
    if (took_ms >= timeout_ms) return missed(engines.at(Number(port)), 'TimeoutError');
    const there = engines.at(Number(port));
    if (there === null) return 'no answer (ECONNREFUSED)';
    if (there === 'stranger') return { status: 200, body: null };
    const deaf = there.frozen || there.state === 'hung' || cut.has(there.engine_id);
    if (deaf || faults.roll('network: answer lost')) {
      await scheduler.sleep(timeout_ms - took_ms, signal);
      return missed(there, 'TimeoutError');
    }
    if (pathname === '/health') {
      witness.answered(there.engine_id, there.state === 'serving');
      return healthOf(there);
    }
    if (hashKey(headers['X-Engine-Key'] ?? '') !== there.key_hash) return { status: 401, body: null };
    there.told_at = scheduler.now();
    return { status: 200, body: activityOf(there) };
  };

  function missed(there: EngineProcess | 'stranger' | null, why: string): string {
    if (there !== null && there !== 'stranger') witness.answered(there.engine_id, false);
    return `no answer (${why})`;
  }

  function healthOf({ state }: EngineProcess): { status: number; body: Health } {
    const ill = state === 'ill';
    const subsystems = { database: ill ? 'error' : 'ok', llm_provider: 'ok', asset_directory: 'ok' };
    return {
      status: ill ? 503 : 200,
      body: { status: ill ? 'error' : 'ok', uptime_seconds: 1, subsystems },
    };
  }

  function activityOf({ turns, used_at }: EngineProcess): Activity {
    return {
      in_flight_turns: turns.size,
      open_streams: 0,
      pending_hitl: 0,
      last_activity_at: new Date(EPOCH_MS + used_at).toISOString(),
      busy_until: null,
    };
  }
}
