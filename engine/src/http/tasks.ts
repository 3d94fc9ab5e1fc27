/** `/tasks` (E10): the conversations of this Engine. Source: engine-api, "/tasks". */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { EngineErrorBody } from '@september/contract';
import { z } from 'zod';
import type { Brain } from '../brain/brain.ts';
import type { Task, TaskPlace } from '../brain/conversations.ts';
import type { ListedMessage } from '../brain/messages.ts';
import type { ListedTurn } from '../brain/turns.ts';
import { EngineError } from '../errors.ts';
import type { Scrubber } from '../secrets/scrubber.ts';
import type { Coordinator } from '../turn/coordinator.ts';
import { TaskId } from '../turn/request.ts';
import type { ContentBlock } from '../types.ts';
import type { Bindings } from './bindings.ts';
import { errorAnswers } from './errors.ts';
import { KEY } from './security.ts';

const MAX_PAGE = 200;

/** Where a page ended. Opaque, so that nobody counts on what it is: time and id of the last task. */
const Cursor = z
  .string()
  .transform(placeOf)
  .refine((place) => place !== undefined, 'must be the `next_cursor` of an answer')
  .optional()
  .meta({ type: 'string', description: 'The `next_cursor` of the page before.' });

const TaskView = z
  .object({
    task_id: z.string(),
    status: z
      .enum(['idle', 'running', 'waiting', 'errored'])
      .meta({ description: '`waiting`: for a person; `errored`: the last turn.' }),
    agent: z.string().meta({ description: 'Of the last turn.' }),
    turns: z.int(),
    created_at: z.iso.datetime(),
    last_activity_at: z.iso.datetime().meta({ description: 'When a turn last started or ended.' }),
  })
  .meta({ id: 'Task' });

const TaskPage = z
  .object({
    tasks: z.array(TaskView),
    next_cursor: z.string().nullable().meta({ description: 'Null at the end.' }),
  })
  .meta({ id: 'TaskPage' });

const MessageView = z
  .object({
    message_id: z.string(),
    turn_id: z.string(),
    role: z.enum(['user', 'assistant']),
    content: z
      .array(z.looseObject({ type: z.string() }))
      .meta({ description: 'Content blocks. Results of tools come in a message of the role `user`.' }),
    created_at: z.iso.datetime(),
    superseded: z.boolean().meta({
      description: 'An edit or a retry went back behind it: it can be read here, the model does not see it.',
    }),
  })
  .meta({ id: 'Message' });

const TurnView = z
  .object({
    turn_id: z.string(),
    status: z.enum(['running', 'waiting', 'completed', 'errored']),
    agent: z.string(),
    started_at: z.iso.datetime(),
    ended_at: z.iso.datetime().nullable(),
    usage: z.object({ input_tokens: z.int(), output_tokens: z.int(), cache_hit_tokens: z.int() }),
    metadata: z.record(z.string(), z.unknown()),
    error: EngineErrorBody.nullable(),
  })
  .meta({ id: 'Turn' });

const WholeTask = TaskView.extend({
  messages: z.array(MessageView).meta({ description: 'The conversation, oldest first, without sub-agents.' }),
  turn_list: z.array(TurnView).meta({ description: 'Oldest first.' }),
}).meta({ id: 'WholeTask' });

const list = createRoute({
  method: 'get',
  path: '/tasks',
  summary: 'The tasks, newest activity first',
  description: 'A task that becomes active while pages are read moves to the front, before the cursor.',
  security: KEY,
  request: {
    query: z.object({
      limit: z.coerce
        .number('must be a number')
        .int()
        .min(1)
        .max(MAX_PAGE)
        .default(50)
        .meta({ description: 'Tasks in one answer.' }),
      cursor: Cursor,
    }),
  },
  responses: {
    200: { description: 'A page', content: { 'application/json': { schema: TaskPage } } },
    ...errorAnswers(400, 401),
  },
});

const read = createRoute({
  method: 'get',
  path: '/tasks/{task_id}',
  summary: 'One task: all its messages and turns',
  security: KEY,
  request: { params: z.object({ task_id: TaskId }) },
  responses: {
    200: { description: 'The task', content: { 'application/json': { schema: WholeTask } } },
    ...errorAnswers(400, 401, 404),
  },
});

const remove = createRoute({
  method: 'delete',
  path: '/tasks/{task_id}',
  summary: 'Remove a task and its events',
  description: 'For good. Refused while a turn is in flight, also one that waits: cancel it first.',
  security: KEY,
  request: { params: z.object({ task_id: TaskId }) },
  responses: {
    200: {
      description: 'It is gone',
      content: {
        'application/json': {
          schema: z.object({ status: z.literal('deleted'), task_id: z.string() }).meta({ id: 'Deleted' }),
        },
      },
    },
    ...errorAnswers(400, 401, 404, 409),
  },
});

const cancel = createRoute({
  method: 'post',
  path: '/tasks/{task_id}/cancel',
  summary: 'End the turn of a task',
  description:
    'Running tools are stopped, a waiting question is withdrawn; the turn ends `errored` with `TURN_CANCELLED`. What was done before stays in the task.',
  security: KEY,
  request: { params: z.object({ task_id: TaskId }) },
  responses: {
    200: {
      description: 'The turn ends',
      content: {
        'application/json': {
          schema: z.object({ status: z.literal('cancelled'), turn_id: z.string() }).meta({ id: 'Cancelled' }),
        },
      },
    },
    ...errorAnswers(400, 401, 404),
  },
});

export function taskRoutes(
  app: OpenAPIHono<Bindings>,
  {
    brain,
    coordinator,
    secrets,
    forgetTask,
  }: {
    brain: Brain;
    coordinator: Coordinator;
    secrets: Pick<Scrubber, 'value'>;
    forgetTask: (task_id: string) => void;
  },
): void {
  /** @throws EngineError `TASK_NOT_FOUND`. */
  const taskOf = (task_id: string): Task => {
    const task = brain.conversations.get(task_id);
    if (task === undefined) throw new EngineError('TASK_NOT_FOUND', 'There is no such task.');
    return task;
  };

  app.openapi(list, (c) => {
    const { limit, cursor } = c.req.valid('query');
    const tasks = brain.conversations.list(limit + 1, cursor);
    const shown = tasks.slice(0, limit);
    const last = tasks.length > limit ? shown.at(-1) : undefined;
    return c.json({ tasks: shown.map(view), next_cursor: last === undefined ? null : toCursor(last) }, 200);
  });

  app.openapi(read, (c) => {
    const { task_id } = c.req.valid('param');
    return c.json(
      {
        ...view(taskOf(task_id)),
        messages: brain.messages.ofTask(task_id).map((message) => secrets.value(messageView(message))),
        turn_list: brain.turns.ofTask(task_id).map((turn) => secrets.value(turnView(turn))),
      },
      200,
    );
  });

  app.openapi(remove, (c) => {
    const { task_id } = taskOf(c.req.valid('param').task_id);
    if (brain.turns.inFlight(task_id).length > 0) {
      throw new EngineError(
        'TASK_BUSY',
        'The task has a turn in flight. Cancel it first, or wait for its end.',
      );
    }
    brain.events.commit([], () => brain.conversations.remove(task_id));
    forgetTask(task_id);
    return c.json({ status: 'deleted' as const, task_id }, 200);
  });

  app.openapi(cancel, (c) => {
    const { task_id } = taskOf(c.req.valid('param').task_id);
    return c.json({ status: 'cancelled' as const, turn_id: coordinator.cancel(task_id) }, 200);
  });
}

const iso = (time: number) => new Date(time).toISOString();

const view = (task: Task) => ({
  ...task,
  created_at: iso(task.created_at),
  last_activity_at: iso(task.last_activity_at),
});

const messageView = (message: ListedMessage) => ({
  ...message,
  content: message.content.map(withoutSignature),
  created_at: iso(message.created_at),
});

/** The provider's proofs are of no use to anybody else, and long. */
function withoutSignature(block: ContentBlock): ContentBlock {
  if (!('signature' in block)) return block;
  const { signature: _, ...shown } = block;
  return shown;
}

const turnView = (turn: ListedTurn) => ({
  ...turn,
  started_at: iso(turn.started_at),
  ended_at: turn.ended_at === null ? null : iso(turn.ended_at),
  metadata: JSON.parse(turn.metadata),
  error: turn.error === null ? null : JSON.parse(turn.error),
});

function toCursor({ last_activity_at, task_id }: TaskPlace): string {
  return Buffer.from(`${last_activity_at} ${task_id}`).toString('base64url');
}

function placeOf(cursor: string): TaskPlace | undefined {
  const [, time, task_id] = /^(\d{1,15}) (.+)$/s.exec(Buffer.from(cursor, 'base64url').toString()) ?? [];
  return task_id === undefined ? undefined : { last_activity_at: Number(time), task_id };
}
