import { z } from 'zod';

/** Where a request broke its schema: `path` names the field (`body.task_id`), `message` says what is wanted. */
export const FieldIssue = z.object({ path: z.string(), message: z.string() });

/** Every non-2xx body of an Engine: flat. Route on `error`; it is stable, `message` is for people. Source: engine-api, "Errors". */
export const EngineErrorBody = z
  .object({
    error: z.string(),
    message: z.string(),
    details: z.record(z.string(), z.unknown()).optional(),
  })
  .meta({ id: 'EngineError' });

/** Every non-2xx body of the orchestrator: nested (O16). Route on `error.code`. */
export const OrchestratorErrorBody = z
  .object({
    error: z.object({
      code: z.string(),
      message: z.string(),
      details: z.record(z.string(), z.unknown()).optional(),
    }),
  })
  .meta({ id: 'OrchestratorError' });

export type FieldIssue = z.infer<typeof FieldIssue>;
export type EngineErrorBody = z.infer<typeof EngineErrorBody>;
export type OrchestratorErrorBody = z.infer<typeof OrchestratorErrorBody>;
