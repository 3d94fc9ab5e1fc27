import type { LiveStatus } from '../registry/engines.ts';

/** From this many failed engines on a fleet can be `critical`: in a fleet of three, one is no catastrophe. */
const CRITICAL_COUNT = 3;
/** Part of the fleet that is failed when it is `critical`. */
const CRITICAL_SHARE = 0.2;

export type FleetStatus = {
  total: number;
  by_status: Partial<Record<LiveStatus, number>>;
  health: 'ok' | 'degraded' | 'critical';
  unhealthy_count: number;
};

/** The snapshot of `GET /status`, from the number of engines in each state. Bap-engine §13, O3. */
export function fleetStatus(counts: { status: LiveStatus; count: number }[]): FleetStatus {
  const by_status = Object.fromEntries(counts.map(({ status, count }) => [status, count]));
  const total = counts.reduce((sum, { count }) => sum + count, 0);
  const failed = by_status.failed ?? 0;
  const critical = failed >= CRITICAL_COUNT && failed >= CRITICAL_SHARE * total;
  return {
    total,
    by_status,
    health: failed === 0 ? 'ok' : critical ? 'critical' : 'degraded',
    unhealthy_count: failed,
  };
}
