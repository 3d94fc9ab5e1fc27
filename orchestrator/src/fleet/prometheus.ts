/**
 * The whole fleet for the monitoring (O28): what the registry knows, which every replica tells alike, and what this
 * process has counted, which is to be summed over replicas.
 *
 * While the database is away the process still tells about itself: that is when somebody looks.
 */
import { OrchestratorError } from '../errors.ts';
import { type Family, gauge, type Sample } from '../observe/exposition.ts';
import type { ProcessWatch } from '../observe/process.ts';
import type { Tally } from '../observe/tally.ts';
import type { Sql } from '../registry/db.ts';
import { openIncident } from '../registry/incidents.ts';
import { countByState, countIll, countUnfinished } from '../registry/metrics.ts';
import { countByVersion, currentRollout, progressOf, type RolloutRow } from '../registry/rollouts.ts';
import { VERSION } from '../version.ts';
import type { Feed } from './feed.ts';
import { stateOf } from './rollout.ts';

export type Figures = { db: Sql; tally: Tally; process_watch: ProcessWatch; feed: Feed };

export async function wholeFleet({ db, tally, process_watch, feed }: Figures): Promise<Family[]> {
  const known = await fromRegistry(db).catch((error) => {
    if (error instanceof OrchestratorError && error.code === 'NOT_READY') return null;
    throw error;
  });
  return [
    gauge('orch_build_info', 'What runs here.', [
      { labels: { version: VERSION, node: process.versions.node }, value: 1 },
    ]),
    gauge(
      'orch_database_up',
      '1 when the database answered, else 0, and what it knows is left out.',
      known === null ? 0 : 1,
    ),
    ...(known ?? []),
    gauge('orch_event_streams', 'Streams of GET /events that are open at this process.', feed.size()),
    ...tally.families(),
    ...process_watch.families(),
  ];
}

async function fromRegistry(db: Sql): Promise<Family[]> {
  const [states, ill, unfinished, incident, versions, rollout] = await Promise.all([
    countByState(db),
    countIll(db),
    countUnfinished(db),
    openIncident(db),
    countByVersion(db),
    currentRollout(db),
  ]);
  const byStatus = new Map<string, Sample>();
  for (const { product, status, count } of states) {
    const labels = { product: product ?? '', status };
    const key = `${labels.product}\n${status}`;
    byStatus.set(key, { labels, value: count + (byStatus.get(key)?.value ?? 0) });
  }
  const sleeping = states.flatMap(({ product, sleep_depth, count }) =>
    sleep_depth === null ? [] : [{ labels: { product: product ?? '', depth: sleep_depth }, value: count }],
  );
  return [
    gauge('orch_engines', 'Engines by product (none: the warm pool) and state.', [...byStatus.values()]),
    gauge(
      'orch_engines_by_image',
      'Engines by image, with the warm pool.',
      versions.map(({ image, count }) => ({ labels: { image }, value: count })),
    ),
    ...(rollout === null ? [] : await ofRollout(db, rollout)),
    gauge('orch_engines_sleeping', 'Sleeping engines by depth.', sleeping),
    gauge(
      'orch_engines_unhealthy',
      'Engines that are ill, or failed because of it.',
      ill.map(({ product, count }) => ({ labels: { product: product ?? '' }, value: count })),
    ),
    gauge(
      'orch_operations_unfinished',
      'Operations under way.',
      unfinished.map(({ kind, count }) => ({ labels: { kind }, value: count })),
    ),
    gauge(
      'orch_operations_overdue',
      'Operations under way past their deadline: nobody works on them.',
      unfinished.reduce((sum, { overdue }) => sum + overdue, 0),
    ),
    gauge(
      'orch_incidents_open',
      '1 while many engines are ill at once and restarts are held back.',
      incident === null ? 0 : 1,
    ),
  ];
}

async function ofRollout(db: Sql, rollout: RolloutRow): Promise<Family[]> {
  const { image, percent } = rollout;
  const progress = await progressOf(db, rollout);
  const state = stateOf(rollout, rollout, progress);
  const figures = { concerned: progress.concerned, upgraded: progress.upgraded };
  return [
    gauge('orch_rollout_info', 'The current roll-out, and how it stands.', [
      { labels: { image, state }, value: 1 },
    ]),
    gauge('orch_rollout_percent', 'The share of the current roll-out.', percent),
    gauge(
      'orch_rollout_engines',
      'Engines that the current roll-out concerns, and that have its image by it.',
      Object.entries(figures).map(([figure, value]) => ({ labels: { figure }, value })),
    ),
    gauge('orch_rollout_halted', '1 while the current roll-out is halted.', state === 'halted' ? 1 : 0),
  ];
}
