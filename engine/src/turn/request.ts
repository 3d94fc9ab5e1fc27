import { z } from 'zod';
import { MediaList } from '../media/blocks.ts';
import type { TakenMedia } from '../types.ts';
import { safeText } from './text.ts';

/**
 * What `/execute` takes. One schema validates it and documents it. Source: engine-api, "POST /execute".
 */

const MAX_TASK_ID = 1024;
const MAX_AGENT_NAME = 128;
const MAX_MESSAGE_ID = 128;

/** Metadata is kept with every turn for ever; this is for ids and labels, not for documents. */
const MAX_METADATA = 64 * 1024;

/**
 * A task id is compared, so it is never mended: two ids that differ only in what mending drops would become
 * one conversation. What cannot be kept as it came is refused.
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

/** Nesting too deep for JSON to be written again counts as too large. */
function isSmall(metadata: Record<string, unknown>): boolean {
  try {
    return JSON.stringify(metadata).length <= MAX_METADATA;
  } catch {
    return false;
  }
}

const MessageId = z.string().min(1).max(MAX_MESSAGE_ID).nullable().default(null);

export const NOT_YET = 'not available in this version';

export const ExecuteRequest = z
  .object({
    message: z
      .string()
      .transform(safeText)
      .refine((text) => text.trim() !== '', 'must not be empty')
      .meta({ description: 'The user’s message.' }),
    task_id: TaskId,
    media: MediaList,
    direct: z.boolean().default(false).meta({ description: 'Skip planning, run the loop directly.' }),
    edit_message_id: MessageId.meta({
      description: 'A message of the user that `message` replaces; what came after it is superseded.',
    }),
    retry_message_id: MessageId.meta({
      description:
        'A message of the user, or an answer to it: it is answered again, what came after it is superseded, and `message` adds nothing.',
    }),
    super_thinking: z
      .boolean()
      .default(false)
      .meta({ description: 'Extended thinking, where the model has it.' }),
    agent: z
      .string()
      .max(MAX_AGENT_NAME)
      .nullish()
      .meta({ description: 'Catalog agent for this turn; default ENGINE_DEFAULT_AGENT.' }),
    output_schema: z
      .record(z.string(), z.unknown(), 'must be a JSON Schema: an object, or null')
      .nullable()
      .default(null)
      .meta({
        description:
          'JSON Schema of the final answer (draft 2020-12 or draft-07); the answer comes as `structured_output`.',
      }),
    metadata: z
      .record(z.string(), z.unknown())
      .default({})
      .refine(isSmall, `must not be above ${MAX_METADATA} characters of JSON`)
      .meta({ description: 'The caller’s own data, stored with the turn, not shown to the model.' }),
  })
  .refine(({ edit_message_id, retry_message_id }) => edit_message_id === null || retry_message_id === null, {
    path: ['retry_message_id'],
    error: 'not together with edit_message_id',
  })
  .meta({
    id: 'ExecuteRequest',
    example: { message: 'Find the latest commit and summarize it.', task_id: 'task-001' },
  });

export type ExecuteRequest = z.infer<typeof ExecuteRequest>;

/** A request whose media have been taken: what of them joins the conversation, and what is kept beside it. */
export type TakenRequest = Omit<ExecuteRequest, 'media'> & { media: TakenMedia };
