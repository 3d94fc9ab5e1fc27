/** A real engine's key is rotated while it is used. `npm run rotations` does it 1,000 times. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type OwnOrchestrator, startOwnOrchestrator } from '../scripts/own_orchestrator.ts';
import { rotateUnderLoad } from '../scripts/rotations.ts';

const ROTATIONS = 40;

let orchestrator: OwnOrchestrator;

beforeAll(async () => {
  orchestrator = await startOwnOrchestrator({ LLM_PROVIDER: 'demo', ORCH_ROTATE_OVERLAP_S: '5' });
}, 120_000);

afterAll(() => orchestrator?.stop(), 30_000);

it('no call fails while the key is rotated, and no old key is good after its overlap', async () => {
  const report = await rotateUnderLoad(orchestrator, ROTATIONS);
  expect(report).toMatchObject({ rotations: ROTATIONS, failures: [], still_good: 0 });
  expect(report.turns, 'there was load').toBeGreaterThan(0);
  expect(report.admits).toBeGreaterThan(0);
}, 120_000);
