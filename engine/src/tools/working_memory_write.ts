/**
 * Notes that the agent keeps within a task: what must outlast a condensed conversation is written, not remembered.
 * Source: engine-runtime, "Platform tools" and "Memory".
 */
import { z } from 'zod';
import { NOTE_LIMITS } from '../brain/working_memory.ts';
import { defineTool, type Tool } from './contract.ts';

export function workingMemoryWriteTool(): Tool {
  return defineTool({
    name: 'working_memory_write',
    description:
      'Keeps a short note for the rest of this task: what is open, what was found, what must not be forgotten. You are shown your notes at the beginning of each turn, and they stay word for word when older messages are condensed; agents you start see and write the same ones. Not for what a file should hold. Example: {"key": "open_questions", "value": "Which year is meant?"}',
    effect: 'idempotent',
    input: z.object({
      key: z
        .string()
        .max(NOTE_LIMITS.key)
        .regex(/^[\w.-]+$/, 'must be letters, digits, "_", "-" and "."')
        .describe('Name of the note. An existing one is replaced.'),
      value: z
        .string()
        .min(1, 'must not be empty; null deletes the note')
        .max(NOTE_LIMITS.value)
        .nullable()
        .describe('The note; null deletes it.'),
    }),
    run: async ({ key, value }, { remember }) => remember(key, value),
  });
}
