/** Questions of a turn to the person, and their answers. Source: engine-api, "/hitl"; E8. */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import type { Brain } from '../brain/brain.ts';
import { EngineError } from '../errors.ts';
import { MediaList, type TakeMedia } from '../media/blocks.ts';
import { answersTo } from '../permissions/permissions.ts';
import { askingAgent } from '../turn/asking.ts';
import type { Coordinator } from '../turn/coordinator.ts';
import { TaskId } from '../turn/request.ts';
import { safeText } from '../turn/text.ts';
import type { Bindings } from './bindings.ts';
import { errorAnswers } from './errors.ts';
import { KEY } from './security.ts';

/** The longest answer or comment, characters: it goes to the model. */
const MAX_ANSWER = 100_000;

const Answer = z
  .object({
    task_id: TaskId,
    answer: z.string().max(MAX_ANSWER).transform(safeText).meta({
      description:
        'To a permission `yes` or `no`; where its `answers` have them, `always` to allow exactly this for the rest of the task, and `always_everywhere` for good. To a question free text.',
    }),
    request_id: z.string().nullish().meta({ description: 'Checked when given.' }),
    feedback: z
      .string()
      .max(MAX_ANSWER)
      .transform(safeText)
      .nullish()
      .meta({ description: 'A comment that the model is told with the result.' }),
    content_blocks: MediaList.meta({
      description:
        'Images, documents, audio and video that the model is shown with the answer; as `media` of /execute.',
    }),
  })
  .meta({ id: 'HitlAnswer', example: { task_id: 'task-001', answer: 'yes', feedback: 'Looks correct.' } });

const Pending = z
  .object({
    pending: z.array(
      z.object({
        request_id: z.string(),
        task_id: z.string(),
        kind: z.enum(['permission', 'question']),
        question: z.string(),
        tool: z.string().optional(),
        input: z.record(z.string(), z.unknown()).optional(),
        answers: z.array(z.string()).optional(),
        created_at: z.iso.datetime(),
        expires_at: z.iso.datetime(),
      }),
    ),
  })
  .meta({ id: 'HitlPending' });

const respond = createRoute({
  method: 'post',
  path: '/hitl/respond',
  summary: 'Answer what a turn waits for; it goes on at once',
  description: 'Of two answers the first counts, the second gets `404 NOT_FOUND`.',
  security: KEY,
  request: { body: { required: true, content: { 'application/json': { schema: Answer } } } },
  responses: {
    200: {
      description: 'The turn goes on',
      content: {
        'application/json': {
          schema: z
            .object({ status: z.literal('resumed'), request_id: z.string() })
            .meta({ id: 'HitlResumed' }),
        },
      },
    },
    ...errorAnswers(400, 401, 404, 503),
  },
});

const pending = createRoute({
  method: 'get',
  path: '/hitl/pending',
  summary: 'Everything that waits for a person, oldest first',
  security: KEY,
  responses: {
    200: { description: 'At most one per task', content: { 'application/json': { schema: Pending } } },
    ...errorAnswers(401),
  },
});

export function hitlRoutes(
  app: OpenAPIHono<Bindings>,
  { brain, coordinator, takeMedia }: { brain: Brain; coordinator: Coordinator; takeMedia: TakeMedia },
): void {
  app.openapi(respond, async (c) => {
    const { task_id, answer, request_id, feedback, content_blocks } = c.req.valid('json');
    if (!brain.conversations.exists(task_id)) {
      throw new EngineError('TASK_NOT_FOUND', 'There is no such task.');
    }
    const taken = await takeMedia(content_blocks, askingAgent(brain, task_id), 'content_blocks');
    const answered = { answer, feedback: feedback ?? null, content: taken.blocks };
    const id = coordinator.respond(task_id, request_id ?? undefined, answered, taken.documents);
    return c.json({ status: 'resumed' as const, request_id: id }, 200);
  });

  app.openapi(pending, (c) =>
    c.json(
      {
        pending: coordinator.waiting().map((request) => ({
          request_id: request.request_id,
          task_id: request.task_id,
          kind: request.kind,
          question: request.question,
          ...(request.tool !== null && { tool: request.tool }),
          ...(request.input !== null && { input: request.input }),
          ...(request.kind === 'permission' && { answers: answersTo(request.findings) }),
          created_at: new Date(request.created_at).toISOString(),
          expires_at: new Date(request.expires_at).toISOString(),
        })),
      },
      200,
    ),
  );
}
