import { describe, expect, it } from 'vitest';
import { fleetStatus } from '../../src/fleet/status.ts';

const fleet = (running: number, failed: number) =>
  fleetStatus([
    { status: 'running', count: running },
    { status: 'failed', count: failed },
  ]);

describe('the fleet status (O3)', () => {
  it('is ok when none failed', () => {
    expect(fleetStatus([])).toEqual({ total: 0, by_status: {}, health: 'ok', unhealthy_count: 0 });
    expect(fleetStatus([{ status: 'stopped', count: 3 }]).health).toBe('ok');
  });

  it.each([
    [0, 1, 'degraded'],
    [0, 2, 'degraded'],
    [0, 3, 'critical'],
    [12, 3, 'critical'],
    [13, 3, 'degraded'],
    [240, 2, 'degraded'],
  ])('with %i running and %i failed is %s%s', (running, failed, health) => {
    expect(fleet(running, failed)).toMatchObject({
      health,
      unhealthy_count: failed,
      total: running + failed,
    });
  });
});
