import { describe, expect, it } from 'vitest';
import { ERRORS } from '../../src/errors.ts';
import { type Change, decide, OPERATIONS, STATES } from '../../src/lifecycle/machine.ts';
import type { EngineStatus } from '../../src/registry/engines.ts';
import type { OperationKind } from '../../src/registry/operations.ts';

const states = Object.keys(STATES) as EngineStatus[];
const kinds = Object.keys(OPERATIONS) as OperationKind[];
const changes = kinds.filter((kind): kind is Change => kind !== 'provision' && kind !== 'restore');

describe('the state machine', () => {
  it.each(kinds)('%s has a deadline, steps, and ends in a resting state either way', (kind) => {
    const { deadline, steps, success, failure, during, causes } = OPERATIONS[kind];
    expect(deadline === 'ORCH_BOOT_TIMEOUT_S' || deadline > 0).toBe(true);
    expect(steps.length).toBeGreaterThan(0);
    expect(causes.length).toBeGreaterThan(0);
    if (success) expect(STATES[success].transitional).toBe(false);
    if (failure !== undefined) expect(STATES[failure].transitional).toBe(false);
    // Whoever enters a state of its own for the way must leave it on failure too.
    if (during !== undefined) expect(failure).toBeDefined();
  });

  it.each(states.filter((state) => STATES[state].transitional))(
    '%s is entered only with an operation, which leads out of it',
    (state) => {
      const entering = kinds.filter((kind) => OPERATIONS[kind].during === state);
      expect(entering).not.toEqual([]);
      for (const kind of kinds) {
        expect(OPERATIONS[kind].success).not.toBe(state);
        expect(OPERATIONS[kind].failure).not.toBe(state);
      }
    },
  );

  it.each(states)('from %s an ordinary call of the product leads on, to running and to gone', (state) => {
    const reachable = new Set<EngineStatus | null>([state]);
    for (const seen of reachable) {
      for (const kind of kinds) {
        const { from, causes, success, failure } = OPERATIONS[kind];
        if (seen === null || !from.includes(seen) || !causes.includes('product')) continue;
        if (success !== undefined) reachable.add(success);
        if (failure !== undefined) reachable.add(failure);
      }
      // A transitional state is left by its own operation.
      for (const kind of kinds) {
        const { during, success, failure } = OPERATIONS[kind];
        if (during === seen && seen !== null) {
          if (success !== undefined) reachable.add(success);
          if (failure !== undefined) reachable.add(failure);
        }
      }
    }
    expect(reachable).toContain(null);
    if (state !== 'destroying') expect(reachable).toContain('running');
  });

  it('joins what leads to the same end, and refuses what does not, for every pair', () => {
    for (const wanted of changes) {
      for (const kind of kinds) {
        for (const status of states) {
          const { success } = OPERATIONS[wanted];
          const same = wanted === kind || (success !== undefined && success === OPERATIONS[kind].success);
          expect(decide(wanted, status, { kind })).toEqual(
            same
              ? { verdict: 'join', operation: { kind } }
              : { verdict: 'refuse', code: 'OPERATION_IN_PROGRESS' },
          );
        }
      }
    }
  });

  it('begins only from the states of the table, and refuses the others with a code of the catalogue', () => {
    for (const wanted of changes) {
      for (const status of states) {
        const decision = decide(wanted, status, null);
        if (OPERATIONS[wanted].from.includes(status)) expect(decision).toEqual({ verdict: 'begin' });
        else expect(decision).toEqual({ verdict: 'refuse', code: OPERATIONS[wanted].refusal });
        expect(Object.keys(ERRORS)).toContain(OPERATIONS[wanted].refusal);
      }
    }
  });

  it('says what the specification says about start and stop', () => {
    expect(decide('start', 'running', null)).toEqual({ verdict: 'refuse', code: 'ENGINE_ALREADY_RUNNING' });
    expect(decide('stop', 'stopped', null)).toEqual({ verdict: 'refuse', code: 'ENGINE_NOT_RUNNING' });
    for (const status of ['running', 'sleeping', 'failed'] as const) {
      expect(decide('stop', status, null)).toEqual({ verdict: 'begin' });
    }
  });
});
