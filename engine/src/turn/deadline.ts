/**
 * A clock that counts only time in which this process ran. An Engine may be frozen in the middle of a turn
 * (SIGSTOP, a paused container, a laptop lid); the turn must not find itself out of time when it is thawed.
 * So the time is counted in ticks, and a tick that took too long counts as one. Source: engine-runtime,
 * "Durability and resume".
 */
const TICK_MS = 250;

export type Deadline = {
  /** Running time so far, milliseconds, that before this start included. */
  active_ms(): number;
  stop(): void;
};

/** Calls `expire` once, when `seconds` of running time are over; `spent_ms` of them were, before this start. */
export function startDeadline(seconds: number, spent_ms: number, expire: () => void): Deadline {
  let active_ms = spent_ms;
  const timer = setInterval(() => {
    active_ms += TICK_MS;
    if (active_ms < seconds * 1000) return;
    clearInterval(timer);
    expire();
  }, TICK_MS);
  return { active_ms: () => active_ms, stop: () => clearInterval(timer) };
}
