import { appendFileSync } from 'node:fs';
import type { HitFailpoint } from '../../src/failpoints.ts';

/**
 * Sends this process `signal` when it comes to `point` for the first time. It notes the point in `file`
 * before, so that a test can tell a fault that landed from one that never came.
 */
export function armFailpoint(plan: {
  point: string;
  signal: 'SIGKILL' | 'SIGSTOP';
  file: string;
}): HitFailpoint {
  let armed = true;
  return (hit) => {
    if (!armed || hit !== plan.point) return;
    armed = false;
    appendFileSync(plan.file, `${hit}\n`);
    process.kill(process.pid, plan.signal);
  };
}
