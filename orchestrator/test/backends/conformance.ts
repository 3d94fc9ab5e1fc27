/**
 * What every backend has to do, whatever it runs engines on: the prose of src/backends/contract.ts as checks.
 *
 * The lifecycle counts on these statements and on nothing else, so a backend is done when it passes here. A
 * test file of a backend gives a `Place` and calls `describeBackend`; what is special to that backend is
 * tested there, not here.
 */
import { describe } from 'vitest';
import { checkContract } from './conformance/contract.ts';
import { checkFailures } from './conformance/failures.ts';
import { checkLate } from './conformance/late.ts';
import type { MakePlace } from './conformance/place.ts';
import { checkRaces } from './conformance/races.ts';
import { checkSequences } from './conformance/sequences.ts';
import { checkSnapshots } from './conformance/snapshots.ts';

/** How much is left to chance: rounds of each race, sequences of calls. */
export type Chances = { rounds: number; sequences: number };

export function describeBackend(
  name: string,
  makePlace: MakePlace,
  { rounds, sequences }: Chances = { rounds: 4, sequences: 50 },
): void {
  describe(`the ${name} backend keeps the contract`, () => {
    checkContract(makePlace);
    checkFailures(makePlace);
    checkRaces(makePlace, rounds);
    checkLate(makePlace);
    checkSnapshots(makePlace);
    checkSequences(makePlace, sequences);
  });
}
