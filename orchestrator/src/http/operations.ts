/**
 * Operations as callers see them, and the two ways to a mutation that gets lost nowhere: `Idempotency-Key`,
 * by which a repeated request finds what the first one began, and `?wait=false`, which answers with the
 * operation at once instead of with its outcome. Source: bap-engine §2.1, O21, O25.
 */
import { createRoute, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { OrchestratorError } from '../errors.ts';
import { hashKey } from '../keys/formats.ts';
import { OPERATIONS } from '../lifecycle/machine.ts';
import type { OnceRequest } from '../registry/idempotency.ts';
import { type OperationKind, type OperationRow, operationById } from '../registry/operations.ts';
import { OfProduct, PLATFORM_OR_ADMIN_KEY } from './auth.ts';
import type { App, Env, HttpDeps } from './context.ts';
import { answers } from './schemas.ts';

const KINDS = Object.keys(OPERATIONS) as [OperationKind, ...OperationKind[]];
/** Longest key, characters; a UUID has 36. */
const MAX_KEY = 255;

export const IdempotencyKey = z.object({
  'idempotency-key': z
    .string()
    .regex(/^[\x21-\x7e]+$/, 'must be visible ASCII characters')
    .max(MAX_KEY, `must have at most ${MAX_KEY} characters`)
    .optional()
    .openapi({
      description:
        'Any text, new for each wish. The same request with the same key does nothing again and gets the same outcome, for a day.',
    }),
});

export const Wait = z.object({
  wait: z
    .enum(['true', 'false'])
    .default('true')
    .openapi({ description: '`false`: answer 202 with the operation at once; see GET /operations/{id}.' }),
});

export const OperationView = z
  .object({
    id: z.uuid(),
    engine_id: z.uuid(),
    user_id: z.string().nullable().describe('Null: the engine had no owner, it was one of the warm pool.'),
    kind: z.enum(KINDS),
    actor: z.string().describe('Who asked: a product, or `system`.'),
    status: z
      .enum(['pending', 'running', 'succeeded', 'failed'])
      .describe('`pending`: nobody works on it yet.'),
    step: z.string().describe('The step begun last.'),
    epoch: z.int().describe('The epoch of the engine that it brings about or acts on.'),
    attempt: z.int().describe('How often it was taken up; each after the first because a replica was lost.'),
    deadline: z.iso.datetime().describe('When it ends at the latest.'),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    created_at: z.iso.datetime(),
    ended_at: z.iso.datetime().nullable(),
  })
  .openapi('Operation');

export function viewOperation(row: OperationRow): z.infer<typeof OperationView> {
  const { id, engine_id, user_id, kind, actor, step, epoch, attempt, error_code, error_message } = row;
  return {
    id,
    engine_id,
    user_id,
    kind,
    actor,
    status: row.outcome ?? (attempt === 0 ? 'pending' : 'running'),
    step,
    epoch,
    attempt,
    deadline: row.deadline.toISOString(),
    error: error_code === null ? null : { code: error_code, message: error_message ?? '' },
    created_at: row.created_at.toISOString(),
    ended_at: row.ended_at?.toISOString() ?? null,
  };
}

/** The answer to `?wait=false`, beside the others of a route. */
export const accepted = {
  202: {
    description: 'Begun, or joined: the operation, as it is now.',
    content: { 'application/json': { schema: OperationView } },
  },
};

/**
 * What a request with an `Idempotency-Key` asks for, as one hash; null without the header. `wish`: all that
 * makes it this request and no other.
 */
export function onceOf(c: Context<Env>, scope: string, wish: unknown[]): OnceRequest | null {
  const key = c.req.header('Idempotency-Key');
  return key === undefined ? null : { scope, key, request_hash: hashKey(JSON.stringify(wish)) };
}

const getRoute = createRoute({
  method: 'get',
  path: '/operations/{id}',
  summary: 'What became of a mutation',
  description: "With a platform key the product's own, with the admin key anybody's.",
  security: PLATFORM_OR_ADMIN_KEY,
  request: {
    params: z.object({ id: z.string().openapi({ param: { name: 'id', in: 'path' } }) }),
    query: OfProduct,
  },
  responses: answers(
    OperationView,
    'The operation.',
    'INVALID_PLATFORM_KEY',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
    'OPERATION_NOT_FOUND',
  ),
});

const Uuid = z.uuid();

export function operationRoutes(app: App, { db }: HttpDeps): void {
  app.openapi(getRoute, async (c) => {
    const { id } = c.req.valid('param');
    const operation = Uuid.safeParse(id).success ? await operationById(db, id) : null;
    const { slice } = c.var;
    if (operation === null || (slice !== null && operation.product_id !== slice)) {
      throw new OrchestratorError('OPERATION_NOT_FOUND', 'No operation has this id.');
    }
    return c.json(viewOperation(operation), 200);
  });
}
