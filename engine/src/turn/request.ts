import { z } from 'zod';
import { safeText } from './text.ts';

/**
 * What `/execute` takes. One schema validates it and documents it. Source: engine-api, "POST /execute".
 *
 * Fields whose feature this version does not have are known and refused: a client that attaches an image must not get
 * an answer that never saw it.
 */

const MAX_TASK_ID = 1024;

/**
 * A task id is compared, so it is never mended: two ids that differ only in what mending drops would become one
 * conversation. What cannot be kept as it came is refused.
 */
export const TaskId = z
  .string()
  .min(1)
  .max(MAX_TASK_ID)
  .refine((id) => safeText(id) === id, 'must be well-formed Unicode without control characters')
  .meta({
    description: 'The conversation: the same id continues it, a new one starts fresh.',
    example: 'task-001',
  });

const NOT_YET = 'not available in this version';

export const ExecuteRequest = z
  .object({
    message: z.string().min(1).transform(safeText).meta({ description: 'The user’s message.' }),
    task_id: TaskId,
    media: z
      .array(z.unknown())
      .max(0, NOT_YET)
      .default([])
      .meta({ description: `Media blocks; ${NOT_YET}.` }),
    direct: z.boolean().default(false).meta({ description: 'Skip planning, run the loop directly.' }),
    edit_message_id: z
      .null(NOT_YET)
      .default(null)
      .meta({ description: `Replace a message; ${NOT_YET}.` }),
    retry_message_id: z
      .null(NOT_YET)
      .default(null)
      .meta({ description: `Run again from a message; ${NOT_YET}.` }),
    super_thinking: z
      .boolean()
      .default(false)
      .meta({ description: 'Extended thinking, where the model has it.' }),
    agent: z
      .string()
      .nullish()
      .meta({ description: 'Catalog agent for this turn; default ENGINE_DEFAULT_AGENT.' }),
    output_schema: z
      .null(NOT_YET)
      .default(null)
      .meta({ description: `JSON Schema of the answer; ${NOT_YET}.` }),
    metadata: z
      .record(z.string(), z.unknown())
      .default({})
      .meta({ description: 'The caller’s own data, stored with the turn, not shown to the model.' }),
  })
  .meta({
    id: 'ExecuteRequest',
    example: { message: 'Find the latest commit and summarize it.', task_id: 'task-001' },
  });

export type ExecuteRequest = z.infer<typeof ExecuteRequest>;
