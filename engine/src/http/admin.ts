import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { RotateKeyRequest, RotateKeyResponse } from '@september/contract';
import type { EngineKeys } from '../brain/engine_keys.ts';
import { EngineError } from '../errors.ts';
import type { Log } from '../observe/log.ts';
import type { Bindings } from './bindings.ts';
import { errorAnswers } from './errors.ts';
import { KEY } from './security.ts';

const route = createRoute({
  method: 'post',
  path: '/admin/rotate-key',
  summary: 'Replace the engine key while running',
  description:
    'Answered once the new hash is committed. Open streams are not cut. The same hash again changes nothing. Only the current key may do it: one that has been replaced gets `401 KEY_ROTATION_PENDING`, unless it repeats the hash.',
  security: KEY,
  request: { body: { required: true, content: { 'application/json': { schema: RotateKeyRequest } } } },
  responses: {
    200: { description: 'Rotated', content: { 'application/json': { schema: RotateKeyResponse } } },
    ...errorAnswers(400, 401),
  },
});

/** `POST /admin/rotate-key` (E12, E23). */
export function rotateKeyRoute(app: OpenAPIHono<Bindings>, parts: { keys: EngineKeys; log: Log }): void {
  app.openapi(route, (c) => {
    const { key_hash, min_overlap_s: min_s, max_overlap_s: max_s } = c.req.valid('json');
    if (min_s !== undefined && max_s !== undefined && min_s > max_s) {
      const issue = { path: 'body.min_overlap_s', message: 'must not be above max_overlap_s' };
      throw new EngineError('INVALID_REQUEST', `${issue.path}: ${issue.message}`, { issues: [issue] });
    }
    const rotation = parts.keys.rotate(c.req.header('x-engine-key') ?? '', key_hash, { min_s, max_s });
    if (rotation === null) {
      throw new EngineError('KEY_ROTATION_PENDING', 'This key has been replaced. Use the new one to rotate.');
    }
    const { old_valid_until, old_purged_at } = rotation;
    parts.log.info('The engine key was rotated', { request_id: c.get('request_id') });
    return c.json(
      {
        status: 'rotated' as const,
        old_key_valid_until: new Date(old_valid_until).toISOString(),
        old_key_purged_at: new Date(old_purged_at).toISOString(),
      },
      200,
    );
  });
}
