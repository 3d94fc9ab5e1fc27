import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { Health, type SandboxHealth } from '@september/contract';
import type { Brain } from '../brain/brain.ts';
import type { Herald } from '../herald/contract.ts';
import type { Sandbox, SandboxState } from '../sandbox/sandbox.ts';
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
  sandbox: Pick<Sandbox, 'state'>;
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
    const state = parts.sandbox.state();
    const body: Health = {
      status,
      uptime_seconds: parts.uptime(),
      subsystems: { database, llm_provider, asset_directory: 'disabled', sandbox: activeLayers(state) },
      sandbox: sandboxHealth(state),
    };
    return status === 'ok' || status === 'degraded' ? c.json(body, 200) : c.json(body, 503, RETRY);
  });
}

/** The layers that hold, or `none`. */
function activeLayers({ mode, layers }: SandboxState): string {
  if (mode === 'unchecked') return mode;
  const active = Object.entries(layers).filter(([, layer]) => layer.state === 'active');
  return mode === 'none' || active.length === 0 ? 'none' : active.map(([name]) => name).join('+');
}

export function sandboxHealth({ checked_at, ...state }: SandboxState): SandboxHealth {
  return { ...state, checked_at: checked_at === null ? null : new Date(checked_at).toISOString() };
}

const RETRY = { 'Retry-After': '2' };
