import { z } from 'zod';
import type { Answered } from '../brain/hitl.ts';
import type { ErrorCode } from '../errors.ts';
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
  | 'sandbox_unavailable'
  | 'execution_failed';

/** `output` must survive JSON. With `error`, a reason or a code of the catalogue, it explains, in words for the model. */
export type ToolOutcome = {
  output: unknown;
  error?: FailureReason | ErrorCode;
  /** Strangers wrote it, also where the tool is not one that `brings_outside`. */
  outside?: true;
};

/** What a call would do, as far as permissions have to know. Paths and commands are as the model gave them. */
export type Action =
  | { kind: 'shell'; command: string }
  | { kind: 'write'; path: string }
  | { kind: 'network'; host: string };

/** What a person's yes has opened, for one call: exactly what the question named. Real paths, folders included. */
export type Opened = { paths: string[]; hosts: string[] };

export type ToolContext = {
  /** Aborts when nobody waits for the outcome any more; a tool then stops what it does. */
  signal: AbortSignal;
  task_id: string;
  /** What a call leaves running ends with its turn. */
  turn_id: string;
  opened: Opened;
  /** The same for the same action, also after a crash (`Idempotency-Key`, MCP `_meta`). */
  key: string;
  /** What a person has said, where the call asked. */
  answered?: Answered | undefined;
  /** Keeps a note for the rest of the task; null deletes it. However often this very call is run, once. */
  remember(key: string, value: string | null): ToolOutcome;
  /** Has another agent do a piece of work, in a thread of this turn. */
  runAgent(agent: string, message: string): Promise<ToolOutcome>;
};

/** Thrown by a tool that cannot go on before a person has answered: a sub-agent that asked. */
export class WaitingForPerson extends Error {
  override name = 'WaitingForPerson';
}

/** A question to the person that a call has to wait for. */
export type Ask = { kind: 'permission' | 'question'; question: string };

export type Tool = {
  definition: ToolDef;
  /** Of a call with this input. */
  effect(input: Record<string, unknown>): Effect;
  /**
   * Longest time a call may take, milliseconds. Default: that of the runner. Null: as long as the turn may; such a tool
   * is waited for also after its signal has aborted, and has to end then by itself.
   */
  time_limit_ms?: number | null;
  /** What a call with this input would do that a rule may gate; none where absent. The input may break the schema. */
  acts?(input: Record<string, unknown>): Action[];
  /** A person is asked before every call, whatever its input. */
  requires_permission?: boolean;
  /** Costs so much (money, time, somebody's attention) that a person is asked before it runs. */
  high_cost?: boolean;
  /** What it answers was written by strangers (pages, mail): the model is told so, and what it does next is watched. */
  brings_outside?: boolean;
  /** What a person is asked before the call runs. A `permission` that is not `yes` fails the call. */
  asks?(input: Record<string, unknown>): Ask | null;
  /** For `checkable`: what became of a call that was cut, `undone` when it has not happened, `unknown` if nobody can say. */
  check?(input: Record<string, unknown>, context: ToolContext): Promise<ToolOutcome | 'undone' | 'unknown'>;
  /** Checks `input` first; what breaks the schema is `invalid_input`, told so that the model can mend it. */
  run(input: unknown, context: ToolContext): Promise<ToolOutcome>;
};

/** A path as a model may give it; NUL would end it in the middle. */
export const PathInput = z
  .string()
  .min(1)
  .refine((path) => !path.includes('\0'), 'must not contain NUL');

/** Makes a tool from its schema and a `run` that gets input which has passed it. */
export function defineTool<Schema extends z.ZodObject>(
  tool: Pick<
    Tool,
    'acts' | 'asks' | 'brings_outside' | 'check' | 'high_cost' | 'requires_permission' | 'time_limit_ms'
  > & {
    name: string;
    description: string;
    effect: Effect | Tool['effect'];
    input: Schema;
    run(input: z.infer<Schema>, context: ToolContext): Promise<ToolOutcome>;
  },
): Tool {
  const { name, description, effect, input: schema, run, ...rest } = tool;
  const { $schema: _, ...input_schema } = z.toJSONSchema(schema, { io: 'input' });
  return {
    ...rest,
    definition: { name, description, input_schema },
    effect: typeof effect === 'function' ? effect : () => effect,
    async run(input, context) {
      const parsed = schema.safeParse(input);
      if (!parsed.success) {
        const issues = parsed.error.issues.map(
          (issue) => `${issue.path.join('.') || 'input'}: ${issue.message}`,
        );
        return { error: 'invalid_input', output: issues.join('; ') };
      }
      return run(parsed.data, context);
    },
  };
}
