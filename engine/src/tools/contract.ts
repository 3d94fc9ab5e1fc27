import { z } from 'zod';
import type { ToolDef } from '../types.ts';

/**
 * What a tool is. To the model all are alike: a name, a description, a schema. Source: engine-runtime,
 * "Tools".
 *
 * `effect` says what may be done with a call that a crash cut off, before its outcome was known (E15): `pure`
 * and `idempotent` calls are simply run again; for `checkable` ones the tool can tell whether it happened;
 * for `once` a person has to be asked.
 */
export type Effect = 'pure' | 'idempotent' | 'checkable' | 'once';

/** Why a call failed; the model reads it and decides what next. */
export type FailureReason =
  | 'permission_denied'
  | 'interrupted'
  | 'invalid_input'
  | 'timeout'
  | 'not_found'
  | 'execution_failed';

/** `output` must survive JSON. With `error` it explains, in words for the model. */
export type ToolOutcome = { output: unknown; error?: FailureReason };

/** `signal` aborts when nobody waits for the outcome any more; a tool then stops what it does. */
export type ToolContext = { signal: AbortSignal };

export type Tool = {
  definition: ToolDef;
  effect: Effect;
  /** Checks `input` first; what breaks the schema is `invalid_input`, told so that the model can mend it. */
  run(input: unknown, context: ToolContext): Promise<ToolOutcome>;
};

/** A path as a model may give it; NUL would end it in the middle. */
export const PathInput = z
  .string()
  .min(1)
  .refine((path) => !path.includes('\0'), 'must not contain NUL');

/** Makes a tool from its schema and a `run` that gets input which has passed it. */
export function defineTool<Schema extends z.ZodObject>(tool: {
  name: string;
  description: string;
  effect: Effect;
  input: Schema;
  run(input: z.infer<Schema>, context: ToolContext): Promise<ToolOutcome>;
}): Tool {
  const { name, description, effect } = tool;
  const { $schema: _, ...input_schema } = z.toJSONSchema(tool.input, { io: 'input' });
  return {
    definition: { name, description, input_schema },
    effect,
    async run(input, context) {
      const parsed = tool.input.safeParse(input);
      if (!parsed.success) {
        const issues = parsed.error.issues.map(
          (issue) => `${issue.path.join('.') || 'input'}: ${issue.message}`,
        );
        return { error: 'invalid_input', output: issues.join('; ') };
      }
      return tool.run(parsed.data, context);
    },
  };
}
