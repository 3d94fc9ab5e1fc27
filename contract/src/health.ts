import { z } from 'zod';

/** A subsystem's word: `ok`, `error`, `disabled`, or a word for a reduced mode such as `demo` (E13). */
export const SubsystemState = z.string().min(1).max(200);

/**
 * The walls around what tools run, as the Engine's own attacks on them found it at its start, or later on demand (E21).
 * `active`: tried, and it holds; `missing`: this machine has none; `broken`: there, and something got through.
 */
export const SandboxHealth = z
  .object({
    mode: z.enum(['sandboxed', 'refused', 'unchecked', 'none']).meta({
      description:
        '`refused`: no command runs, as the walls do not hold; `unchecked`: not attacked yet, a command waits for it; `none`: switched off (`SANDBOX_MODE`).',
    }),
    layers: z.record(
      z.string(),
      z.object({ state: z.enum(['active', 'missing', 'broken']), reason: z.string().optional() }),
    ),
    checked_at: z.iso.datetime().nullable(),
  })
  .meta({ id: 'SandboxHealth' });

export type SandboxHealth = z.infer<typeof SandboxHealth>;

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
    sandbox: SandboxHealth.optional(),
  })
  .meta({ id: 'Health' });

export type Health = z.infer<typeof Health>;
