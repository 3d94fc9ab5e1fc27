/** `npm run rotations [count]`: 1,000 rotations of one real engine's key under load, in a folder of its own. */
import { startOwnOrchestrator } from './own_orchestrator.ts';
import { rotateUnderLoad } from './rotations.ts';

const count = Number(process.argv[2] ?? 1000);
if (!Number.isInteger(count) || count < 1) throw new TypeError('give the number of rotations');
const orchestrator = await startOwnOrchestrator({ LLM_PROVIDER: 'demo', ORCH_ROTATE_OVERLAP_S: '10' });
try {
  const report = await rotateUnderLoad(orchestrator, count);
  console.log(
    JSON.stringify({ ...report, failures: report.failures.slice(0, 10), failed: report.failures.length }),
  );
  if (report.failures.length > 0 || report.still_good > 0 || report.rotations < count) process.exitCode = 1;
} finally {
  await orchestrator.stop();
}
