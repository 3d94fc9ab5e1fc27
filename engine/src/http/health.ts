import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { Health } from '@september/contract';
import type { Brain } from '../brain/brain.ts';
import type { Herald } from '../herald/contract.ts';
import type { Coordinator } from '../turn/coordinator.ts';
import type { Bindings } from './bindings.ts';

const route = createRoute({
  method: 'get',
  path: '/health',
  summary: 'Can turns be served? No key. Shape and meaning never change.',
  responses: {
    200: { description: 'ok or degraded', content: { 'application/json': { schema: Health } } },
    503: { description: 'error, starting or draining', content: { 'application/json': { schema: Health } } },
  },
});

export type HealthParts = {
  brain: Brain;
  herald: Herald;
  coordinator: Coordinator;
  /** Seconds since the process started. */
  uptime: () => number;
};

/** `GET /health` (E13). The database is asked each time; the provider never is: its word is how the last real call went. */
export function healthRoute(app: OpenAPIHono<Bindings>, parts: HealthParts): void {
  app.openapi(route, (c) => {
    const database = parts.brain.healthy() ? 'ok' : 'error';
    const llm_provider = parts.herald.state();
    const status = parts.coordinator.draining()
      ? 'draining'
      : database === 'error'
        ? 'error'
        : llm_provider === 'error'
          ? 'degraded'
          : 'ok';
    const body: Health = {
      status,
      uptime_seconds: parts.uptime(),
      subsystems: { database, llm_provider, asset_directory: 'disabled' },
    };
    return status === 'ok' || status === 'degraded' ? c.json(body, 200) : c.json(body, 503, RETRY);
  });
}

const RETRY = { 'Retry-After': '2' };
