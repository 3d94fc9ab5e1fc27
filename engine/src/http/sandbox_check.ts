import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { SandboxHealth } from '@september/contract';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { Bindings } from './bindings.ts';
import { errorAnswers } from './errors.ts';
import { sandboxHealth } from './health.ts';
import { KEY } from './security.ts';

const route = createRoute({
  method: 'post',
  path: '/admin/sandbox-check',
  summary: 'Attack the sandbox, now',
  description:
    'As at each start: a few ways out are tried from inside, and the answer, which `/health` gives from then on too, says which layers hold. Where one is broken no command runs; after it is mended, ask again. Commands that are asked for meanwhile wait.',
  security: KEY,
  responses: {
    200: { description: 'What was found', content: { 'application/json': { schema: SandboxHealth } } },
    ...errorAnswers(401),
  },
});

/** `POST /admin/sandbox-check` (E21). */
export function sandboxCheckRoute(app: OpenAPIHono<Bindings>, sandbox: Pick<Sandbox, 'check'>): void {
  app.openapi(route, async (c) => c.json(sandboxHealth(await sandbox.check()), 200));
}
