/**
 * The breaker for failures that belong together (O11).
 *
 * When a fifth of the fleet turns ill inside one minute, the engines are not the cause: the machine is short
 * of memory, a network is down, a provider of something is away. Restarting them all at once would only add
 * a storm of boots to it. So that is one incident: restarts pause, then resume slowly and ever faster, and
 * when none is waiting any more the incident is over by itself.
 *
 * Every decision is taken in the transaction that claims the restarts, under one lock over all orchestrators:
 * no restart begins without it, and two of them cannot each grant the same place.
 */
import type { Db, Sql } from '../registry/db.ts';
import { type ClaimedRestart, claimRestarts } from '../registry/health.ts';
import {
  beginIncident,
  countFleet,
  countIncidentRestarts,
  countTurnedIll,
  endIncident,
  type IncidentRow,
  lockRestarts,
  openIncident,
  restartsWait,
} from '../registry/incidents.ts';

/** "At once" is within this time, seconds. */
const WINDOW_S = 60;
/** "Many" are at least so many engines … */
const MIN_ILL = 5;
/** … and this part of the fleet. */
const MIN_SHARE = 0.2;
/** How long restarts pause at first, seconds: as long as a cause that passes by itself usually takes. */
const PAUSE_S = 30;
/** Then this many restarts begin in a second … */
const RATE = 1;
/** … and each second so many more than in the one before: a small fleet comes back gently, a large one in time. */
const ACCELERATION = 0.1;

/** How many restarts an incident has let through when they have resumed for `resumed_s` seconds. */
export function restartsGranted(resumed_s: number): number {
  if (resumed_s < 0) return 0;
  return Math.floor(1 + RATE * resumed_s + (ACCELERATION / 2) * resumed_s ** 2);
}

export type Granted = {
  restarts: ClaimedRestart[];
  incident: ({ began?: true; ended?: true } & IncidentRow) | null;
};

/**
 * Claims up to `limit` restarts that are due and allowed. Every orchestrator asks once a second, and mostly there is
 * nothing to decide: then that is one query, and no lock.
 */
export async function grantRestarts(db: Db, limit: number): Promise<Granted> {
  if (!(await restartsWait(db, MIN_ILL, WINDOW_S))) return { restarts: [], incident: null };
  return await db.tx((sql) => decide(sql, limit));
}

async function decide(sql: Sql, limit: number): Promise<Granted> {
  await lockRestarts(sql);
  const ill = await countTurnedIll(sql, WINDOW_S);
  // The fleet is only counted when it matters.
  const fleet = ill < MIN_ILL ? null : await countFleet(sql);
  const many = fleet !== null && ill >= MIN_SHARE * fleet;
  const open = await openIncident(sql);
  if (open === null && many) {
    const incident = await beginIncident(sql, { ill, fleet, pause_s: PAUSE_S });
    return { restarts: [], incident: { ...incident, began: true } };
  }
  if (open === null) return { restarts: await claimRestarts(sql, limit), incident: null };

  const places = Math.min(limit, restartsGranted(open.resumed_s) - open.restarts);
  if (places <= 0) return { restarts: [], incident: open };
  const restarts = await claimRestarts(sql, places);
  await countIncidentRestarts(sql, open.id, restarts.length);
  // Nobody waits any more, and it does not spread.
  if (many || restarts.length === places) return { restarts, incident: open };
  await endIncident(sql, open.id);
  return { restarts, incident: { ...open, ended: true } };
}
