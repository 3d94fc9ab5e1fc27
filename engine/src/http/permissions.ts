/** What a person has allowed for later, and taking it back. Source: engine-runtime, "Permissions"; the endpoints are ours. */
import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import type { Brain } from '../brain/brain.ts';
import { EngineError } from '../errors.ts';
import type { Bindings } from './bindings.ts';
import { errorAnswers } from './errors.ts';
import { KEY } from './security.ts';

const Remembered = z
  .object({
    permissions: z.array(
      z.object({
        permission_id: z.string(),
        task_id: z.string().nullable().meta({ description: 'Null: in every task.' }),
        tool: z.string(),
        danger: z.string().meta({ example: 'delete_outside' }),
        subject: z
          .string()
          .meta({ description: 'The path, host or command that was allowed; nothing else is.' }),
        created_at: z.iso.datetime(),
      }),
    ),
  })
  .meta({ id: 'RememberedPermissions' });

const list = createRoute({
  method: 'get',
  path: '/permissions',
  summary: 'What was allowed for later, oldest first',
  security: KEY,
  responses: {
    200: { description: 'All of it', content: { 'application/json': { schema: Remembered } } },
    ...errorAnswers(401),
  },
});

const remove = createRoute({
  method: 'delete',
  path: '/permissions/{permission_id}',
  summary: 'Take back what was allowed for later; it is asked again',
  security: KEY,
  request: { params: z.object({ permission_id: z.string().max(200) }) },
  responses: {
    200: {
      description: 'It is forgotten',
      content: {
        'application/json': {
          schema: z
            .object({ status: z.literal('forgotten'), permission_id: z.string() })
            .meta({ id: 'PermissionForgotten' }),
        },
      },
    },
    ...errorAnswers(400, 401, 404),
  },
});

export function permissionRoutes(app: OpenAPIHono<Bindings>, { brain }: { brain: Brain }): void {
  app.openapi(list, (c) => {
    const permissions = brain.remembered_permissions
      .all()
      .map((one) => ({ ...one, created_at: new Date(one.created_at).toISOString() }));
    return c.json({ permissions }, 200);
  });

  app.openapi(remove, (c) => {
    const { permission_id } = c.req.valid('param');
    if (!brain.remembered_permissions.remove(permission_id)) {
      throw new EngineError('NOT_FOUND', 'There is no such permission.');
    }
    return c.json({ status: 'forgotten' as const, permission_id }, 200);
  });
}
