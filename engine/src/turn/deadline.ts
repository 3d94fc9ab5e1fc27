/**
 * A timer that counts only time in which this process ran. An Engine may be frozen in the middle of a turn
 * (SIGSTOP, a paused container, a laptop lid); the turn must not find itself out of time when it is thawed.
 * So the time is counted in ticks, and a tick that took too long counts as one. Source: engine-runtime,
 * "Durability and resume".
 */
const TICK_MS = 250;

/** Calls `expire` once after `seconds` of running time. @returns stops it. */
export function startDeadline(seconds: number, expire: () => void): () => void {
  let left = seconds * 1000;
  const timer = setInterval(() => {
    left -= TICK_MS;
    if (left > 0) return;
    clearInterval(timer);
    expire();
  }, TICK_MS);
  return () => clearInterval(timer);
}
