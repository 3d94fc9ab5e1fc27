import { z } from 'zod';

/**
 * Answer of the Engine's `GET /activity` (O4): what the orchestrator's idle detector asks before it
 * puts an engine to sleep. Asking is not activity.
 */
export const Activity = z
  .object({
    /** Turns between their message and their answer; one that waits for a person is not counted here. */
    in_flight_turns: z.int().nonnegative(),
    /** `/execute` and `/execute/replay` streams that a client holds open. */
    open_streams: z.int().nonnegative(),
    /** Turns paused until a person answers. */
    pending_hitl: z.int().nonnegative(),
    /** ISO-8601 UTC with milliseconds. */
    last_activity_at: z.iso.datetime(),
    /** Until when due background work needs the process, ISO-8601 UTC; null when there is none. */
    busy_until: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Activity' });

export type Activity = z.infer<typeof Activity>;
