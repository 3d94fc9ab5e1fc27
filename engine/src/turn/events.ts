import { z } from 'zod';

/**
 * Every event a turn can send, each with its exact shape; the OpenAPI document is made from these. Clients
 * ignore types they do not know, so events are added here freely and changed never. Source: engine-api, "SSE
 * events".
 */

const common = {
  timestamp: z.iso.datetime(),
  task_id: z.string(),
  turn_id: z.string(),
  parent_tool_call_id: z
    .string()
    .optional()
    .meta({ description: 'On events of a sub-agent: the call of run_agent that started it.' }),
};

const block_type = z.enum(['text', 'thinking', 'tool_use']);
/** Counts over the whole turn, so that it names one block also where a model call was made again. */
const block_index = z.int().nonnegative();

const failure = {
  error: z.string().meta({ description: 'Code from the error catalogue.' }),
  message: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
};

const thread_lifecycle = z.literal('thread_lifecycle');

export const ThreadStarted = z
  .object({
    type: thread_lifecycle,
    ...common,
    phase: z.literal('started'),
    message_id: z.string().meta({ description: 'Id of the user’s message.' }),
    agent: z.string(),
  })
  .meta({ id: 'ThreadStarted', description: 'Opens every turn.' });

export const ThreadCompleted = z
  .object({
    type: thread_lifecycle,
    ...common,
    phase: z.literal('completed'),
    message_id: z.string().meta({ description: 'Id of the answer.' }),
    stop_reason: z.enum(['end_turn', 'max_tokens']),
  })
  .meta({ id: 'ThreadCompleted', description: 'Closes a turn that succeeded.' });

export const ThreadErrored = z
  .object({ type: thread_lifecycle, ...common, phase: z.literal('errored'), error: z.object(failure) })
  .meta({ id: 'ThreadErrored', description: 'Closes a turn that failed; only `error` comes after it.' });

export const ErrorEvent = z
  .object({ type: z.literal('error'), ...common, ...failure })
  .meta({ id: 'ErrorEvent', description: 'Last event of a failed turn.' });

export const TextDelta = z
  .object({ type: z.literal('text_delta'), ...common, text: z.string() })
  .meta({ id: 'TextDelta', description: 'A piece of the answer; concatenate in order.' });

export const ThinkingDelta = z
  .object({ type: z.literal('thinking_delta'), ...common, text: z.string() })
  .meta({ id: 'ThinkingDelta', description: 'A piece of the reasoning, with super_thinking.' });

export const ContentBlockStart = z
  .object({ type: z.literal('content_block_start'), ...common, block_index, block_type })
  .meta({ id: 'ContentBlockStart' });

export const ContentBlockStop = z
  .object({
    type: z.literal('content_block_stop'),
    ...common,
    block_index,
    block_type,
    discarded: z.literal(true).optional().meta({ description: 'The model call broke: drop this block.' }),
  })
  .meta({ id: 'ContentBlockStop' });

export const ToolCall = z
  .object({
    type: z.literal('tool_call'),
    ...common,
    tool: z.string(),
    tool_call_id: z.string(),
    input: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'ToolCall' });

export const ToolResult = z
  .object({
    type: z.literal('tool_result'),
    ...common,
    tool: z.string(),
    tool_call_id: z.string(),
    output: z.unknown(),
    error: z.string().optional().meta({ description: 'Reason, only when the call failed.' }),
    duration_ms: z.int().nonnegative(),
  })
  .meta({ id: 'ToolResult', description: 'A tool finished; in the order of the calls.' });

export const UsageEvent = z
  .object({
    type: z.literal('usage'),
    ...common,
    input_tokens: z.int().nonnegative(),
    output_tokens: z.int().nonnegative(),
    cache_hit_tokens: z.int().nonnegative(),
    model: z
      .string()
      .meta({ description: 'The model that answered; another than asked for after a fallback.' }),
    cost_usd: z
      .number()
      .nonnegative()
      .nullable()
      .meta({ description: 'By the list prices in the catalog; null where they are not known.' }),
  })
  .meta({ id: 'Usage', description: 'After each model call; cache_hit_tokens is a part of input_tokens.' });

export const CacheHitRatioAlert = z
  .object({
    type: z.literal('cache_hit_ratio_alert'),
    ...common,
    ratio: z.number().min(0).max(1),
    threshold: z.number(),
  })
  .meta({
    id: 'CacheHitRatioAlert',
    description: 'Less than the threshold of what the last calls sent was in the provider’s cache.',
  });

export const CompactionEvent = z
  .object({
    type: z.literal('compaction_event'),
    ...common,
    before_tokens: z.int().nonnegative(),
    after_tokens: z.int().nonnegative(),
    strategy: z.literal('summary'),
  })
  .meta({ id: 'CompactionEvent', description: 'Older messages were condensed for the model; estimates.' });

export const StructuredOutput = z
  .object({
    type: z.literal('structured_output'),
    ...common,
    output: z.unknown().meta({ description: 'The answer, as JSON that fits `output_schema`.' }),
    repairs: z.int().nonnegative().meta({ description: 'Answers before it that did not fit.' }),
  })
  .meta({ id: 'StructuredOutput', description: 'With output_schema, right before `completed`.' });

const hitl_kind = z.enum(['permission', 'question']);

export const HitlRequest = z
  .object({
    type: z.literal('hitl_request'),
    ...common,
    request_id: z.string(),
    kind: hitl_kind,
    question: z.string(),
    tool: z.string().optional(),
    input: z.record(z.string(), z.unknown()).optional(),
    answers: z
      .array(z.string())
      .optional()
      .meta({ description: 'Of a permission: what may be answered, `always` where it can be remembered.' }),
    created_at: z.iso.datetime(),
    expires_at: z.iso
      .datetime()
      .meta({ description: 'Unanswered by then, the turn ends with HITL_EXPIRED.' }),
  })
  .meta({ id: 'HitlRequest', description: 'The turn waits for a person: POST /hitl/respond.' });

export const WorkingMemoryUpdate = z
  .object({
    type: z.literal('working_memory_update'),
    ...common,
    op: z.enum(['set', 'delete']),
    key: z.string().meta({ example: 'plan' }),
    value: z.string().optional().meta({ description: 'With `set`.' }),
  })
  .meta({ id: 'WorkingMemoryUpdate', description: 'A note of the task was written.' });

export const MemoryRetrieval = z
  .object({
    type: z.literal('memory_retrieval'),
    ...common,
    episodes: z.int().nonnegative(),
    knowledge: z.int().nonnegative(),
    social: z.int().nonnegative(),
    mode: z.enum(['hybrid', 'keyword_only']),
    duration_ms: z.int().nonnegative(),
  })
  .meta({
    id: 'MemoryRetrieval',
    description: 'Long-term memory was searched for this turn; how many of each went to the model.',
  });

export const HitlResolved = z
  .object({ type: z.literal('hitl_resolved'), ...common, request_id: z.string(), answer: z.string() })
  .meta({ id: 'HitlResolved', description: 'Answered; the turn goes on.' });

export const TaskLifecycle = z
  .object({
    type: z.literal('task_lifecycle'),
    ...common,
    phase: z.enum(['created', 'edited', 'retried', 'resumed', 'cancelled']),
  })
  .meta({
    id: 'TaskLifecycle',
    description: 'The conversation changed; `resumed`: the turn goes on after a restart of the Engine.',
  });

/** Not buffered. On a replay of all tasks it belongs to none. */
export const Heartbeat = z
  .object({
    type: z.literal('heartbeat'),
    timestamp: z.iso.datetime(),
    task_id: z.string().nullable(),
    turn_id: z.string().nullable(),
  })
  .meta({ id: 'Heartbeat', description: 'After silence. Its id is that of the last event sent.' });

/** Not buffered. Without it a client that was away for too long would take what is left for all there was. */
export const Gap = z
  .object({
    type: z.literal('gap'),
    timestamp: z.iso.datetime(),
    task_id: z.string().nullable(),
    turn_id: z.string().nullable(),
    from: z.int().positive(),
    to: z.int().positive(),
    pointer: z.string().meta({ description: 'Where the outcome is.', example: 'GET /tasks/task-001' }),
  })
  .meta({
    id: 'Gap',
    description:
      'Events that the client asked for, with ids between `from` and `to`, are no longer kept. Its id is that of the last event the client has.',
  });

const TurnEvent = z.union([
  ThreadStarted,
  ThreadCompleted,
  ThreadErrored,
  ErrorEvent,
  TextDelta,
  ThinkingDelta,
  ContentBlockStart,
  ContentBlockStop,
  ToolCall,
  ToolResult,
  UsageEvent,
  CompactionEvent,
  CacheHitRatioAlert,
  StructuredOutput,
  HitlRequest,
  HitlResolved,
  WorkingMemoryUpdate,
  MemoryRetrieval,
  TaskLifecycle,
]);
type TurnEvent = z.infer<typeof TurnEvent>;

/** Everything that can come over the wire. */
export const StreamedEvent = z.union([...TurnEvent.options, Heartbeat, Gap]).meta({ id: 'StreamedEvent' });

type WithoutCommon<Event> = Event extends unknown ? Omit<Event, keyof typeof common> : never;

/** An event as the turn says it; the common fields are added where it is recorded. */
export type EventBody = WithoutCommon<TurnEvent>;
