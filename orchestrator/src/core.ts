/**
 * The orchestrator's own parts, put together: lifecycle, background loops, HTTP API. All that has effects is
 * given to it: the database, the backend, time, chance, the way to the engines. So what a simulation runs
 * under its own time and with faults of its own making is this very composition (app.ts is the other user).
 */
import { lookTogether } from './admission/looks.ts';
import { startAuditRetention } from './audit/retention.ts';
import type { Backend } from './backends/contract.ts';
import type { Config } from './config.ts';
import { OrchestratorError } from './errors.ts';
import type { HitFailpoint } from './failpoints.ts';
import { openFeed } from './fleet/feed.ts';
import { startPruning } from './fleet/prune.ts';
import { startHealth } from './health/start.ts';
import { createApp } from './http/app.ts';
import type { App } from './http/context.ts';
import { admitDirectly, type Direct } from './http/direct.ts';
import type { Ask } from './lifecycle/ask.ts';
import type { Clock } from './lifecycle/clock.ts';
import { startIdleDetector } from './lifecycle/idle.ts';
import { openLifecycle } from './lifecycle/operations.ts';
import { startRetention } from './lifecycle/retention.ts';
import { makeImageKnown, startRollouts } from './lifecycle/rollouts.ts';
import { startRunner } from './lifecycle/runner.ts';
import { startWarmPool } from './lifecycle/warm_pool.ts';
import type { Log } from './observe/log.ts';
import type { ProcessWatch } from './observe/process.ts';
import { createTally } from './observe/tally.ts';
import type { Db } from './registry/db.ts';
import { databaseTime } from './registry/health.ts';

export type Surroundings = {
  /** Migrated. */
  db: Db;
  backend: Backend;
  clock: Clock;
  ask: Ask;
  log: Log;
  failpoint: HitFailpoint;
  /** A number from 0 to 1: by how much loops vary their pauses. */
  random: () => number;
  /** What GET /metrics/prometheus says of the process. */
  process_watch: ProcessWatch;
  /** This replica's id, see registry/replica.ts. */
  owner: number;
};

export type Core = {
  app: App;
  /** Answers plain admits, for a server that has them as Node.js gives them; `app` answers them as well. */
  direct: Direct;
  /**
   * Starts the background loops. Not before it serves: with many engines these take long, and an admit asks for
   * itself whether an engine is there.
   */
  startLoops(): void;
  /** Ends loops and work under way; what is unfinished another replica or the next start takes up. */
  release(): Promise<void>;
};

/** Takes up what nobody works on, and is ready to serve when it returns. Throws `NOT_READY`. */
export async function openCore(config: Config, surroundings: Surroundings): Promise<Core> {
  const { admin_key, master_keys, engine_environment, boot_timeout_s, health, restarts, sleep } = config;
  const { rotate_overlap_s, canary } = config;
  const ports = { min: config.port_min, max: config.port_max };
  const parts = {
    ...surroundings,
    tally: createTally(),
    master_keys,
    engine_environment,
    ports,
    boot_timeout_s,
    restarts,
    rotate_overlap_s,
    ...canary,
  };
  const runner = startRunner(parts);
  const closing = new AbortController();
  const background: Promise<void>[] = [];
  const release = async () => {
    closing.abort(new OrchestratorError('NOT_READY', 'The orchestrator is stopping.'));
    await Promise.all([runner.close(), ...background]);
  };
  try {
    const since = await databaseTime(parts.db);
    const lifecycle = openLifecycle({ ...parts, runner, since });
    await makeImageKnown(parts, config.engine_image);
    await runner.resume();
    const { reconcile_interval_s, warm_pool } = config;
    const { audit_retention_days } = config;
    const { sleep_mode } = sleep;
    const feed = openFeed(parts, closing.signal);
    const look = lookTogether(parts.db);
    const http = { ...parts, feed, lifecycle, look, admin_key, sleep_mode, health };
    return {
      app: createApp(http),
      direct: admitDirectly(http),
      startLoops() {
        const { signal } = closing;
        background.push(startHealth({ ...parts, lifecycle, health, reconcile_interval_s }, signal).ended);
        const idle = startIdleDetector({ ...parts, lifecycle, sleep }, signal);
        if (idle !== null) background.push(idle.ended);
        background.push(startRetention({ ...parts, lifecycle }, signal).ended);
        background.push(startAuditRetention({ ...parts, audit_retention_days }, signal).ended);
        background.push(startPruning(parts, signal).ended);
        background.push(startRollouts({ ...parts, lifecycle }, signal).ended);
        background.push(startWarmPool({ ...parts, lifecycle, warm_pool }, signal).ended);
      },
      release,
    };
  } catch (error) {
    await release();
    throw error;
  }
}
