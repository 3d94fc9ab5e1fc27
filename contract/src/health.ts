import { z } from 'zod';

/** A subsystem's word: `ok`, `error`, `disabled`, or a word for a reduced mode such as `demo` (E13). */
export const SubsystemState = z.string().min(1).max(200);

/**
 * Answer of the Engine's `GET /health`. Shape and meaning never change (E13).
 * `ok` and `degraded` come with HTTP 200; `error`, `starting` and `draining` with 503.
 * Source: engine-api, "GET /health"; bap-engine, "Engine contract".
 */
export const Health = z
  .object({
    status: z.enum(['ok', 'degraded', 'error', 'starting', 'draining']),
    uptime_seconds: z.number().nonnegative(),
    subsystems: z
      .object({
        database: SubsystemState,
        llm_provider: SubsystemState,
        asset_directory: SubsystemState,
      })
      .catchall(SubsystemState),
  })
  .meta({ id: 'Health' });

export type Health = z.infer<typeof Health>;
