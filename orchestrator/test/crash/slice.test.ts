import { describe, expect, it } from 'vitest';
import { CELLS, cell, unusedPoints } from './cells.ts';
import { runCell } from './run_cell.ts';

/** One for each kind of leftover; the whole is `npm run crash-matrix`. */
const SLICE = [
  cell('provision', 'create.spawned'),
  cell('provision (warm)', 'thaw.after'),
  cell('start', 'claim.committed'),
  cell('stop', 'stop.terminated'),
  cell('doze', 'freeze.after'),
  cell('destroy', 'remove.marked'),
  cell('rotate-key', 'rotate_key.after'),
  cell('upgrade', 'create.spawned'),
  cell('rollback', 'revert.swapping'),
];

describe('an orchestrator killed in the middle', () => {
  it.each(SLICE)('of $scenario.name, at $point, leaves what the next one brings to its end', async (one) => {
    await runCell(one);
  });

  it('can be killed at every point there is', () => {
    expect(unusedPoints()).toEqual([]);
    expect(CELLS.length).toBeGreaterThan(60);
  });
});
