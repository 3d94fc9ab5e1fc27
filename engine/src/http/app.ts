import { OpenAPIHono } from '@hono/zod-openapi';
import { cors } from 'hono/cors';
import type { Brain } from '../brain/brain.ts';
import { EngineError } from '../errors.ts';
import type { Herald } from '../herald/contract.ts';
import type { NewId } from '../ids.ts';
import type { TakeMedia } from '../media/blocks.ts';
import type { Log } from '../observe/log.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { Scrubber } from '../secrets/scrubber.ts';
import type { Coordinator } from '../turn/coordinator.ts';
import { activityRoute, type Presence } from './activity.ts';
import { rotateKeyRoute } from './admin.ts';
import { requireKey } from './auth.ts';
import type { Bindings } from './bindings.ts';
import { limitBody } from './body.ts';
import { docsRoutes } from './docs.ts';
import { onError, onInvalid } from './errors.ts';
import { executeRoutes } from './execute.ts';
import { healthRoute } from './health.ts';
import { hitlRoutes } from './hitl.ts';
import { observabilityRoutes } from './observability.ts';
import { permissionRoutes } from './permissions.ts';
import { sandboxCheckRoute } from './sandbox_check.ts';
import { OPEN_PATHS } from './security.ts';
import { taskRoutes } from './tasks.ts';

/** Every silence this long is broken by a heartbeat, so that proxies and clients know the stream lives. */
const HEARTBEAT_MS = 15_000;

/** A client that takes nothing for this long is gone, or might as well be. */
const STALLED_MS = 60_000;

export type AppParts = {
  brain: Brain;
  herald: Herald;
  coordinator: Coordinator;
  sandbox: Pick<Sandbox, 'state' | 'check' | 'forgetTask'>;
  takeMedia: TakeMedia;
  log: Log;
  secrets: Pick<Scrubber, 'value'>;
  now: () => number;
  newId: NewId;
  uptime: () => number;
  heartbeat_ms?: number;
  stalled_ms?: number;
};

/** The whole HTTP API. Order matters: id and log, CORS, key, size, and only then routes and their schemas. */
export function createApp(parts: AppParts): OpenAPIHono<Bindings> {
  const { brain, coordinator, takeMedia, now } = parts;
  const log = parts.log.named('server');
  const presence: Presence = { open_streams: 0, last_activity_at: now() };
  const app = new OpenAPIHono<Bindings>({ defaultHook: onInvalid });
  app.onError(onError(log));
  app.notFound((c) => {
    throw new EngineError('NOT_FOUND', `There is no ${c.req.method} ${c.req.path}.`);
  });

  app.use(async (c, next) => {
    const started = now();
    const request_id = parts.newId('req');
    c.set('request_id', request_id);
    c.header('X-Request-Id', request_id);
    await next();
    const record = {
      request_id,
      extra: { method: c.req.method, path: c.req.path, status: c.res.status, duration_ms: now() - started },
    };
    // Probes come every few seconds for ever.
    if (c.req.path === '/health' || c.req.path === '/activity') log.debug('Request', record);
    else log.info('Request', record);
  });
  app.use(
    cors({
      origin: '*',
      allowMethods: ['GET', 'POST', 'DELETE'],
      allowHeaders: ['Content-Type', 'X-Engine-Key', 'Last-Event-ID', 'Idempotency-Key'],
      exposeHeaders: ['X-Request-Id', 'Retry-After'],
    }),
  );

  const checkKey = requireKey(brain.keys);
  app.use((c, next) => (OPEN_PATHS.has(c.req.path) ? next() : checkKey(c, next)));
  app.use(async (c, next) => {
    if (!OPEN_PATHS.has(c.req.path) && c.req.path !== '/activity') presence.last_activity_at = now();
    await next();
  });
  app.use(limitBody);

  healthRoute(app, parts);
  activityRoute(app, { coordinator, presence });
  executeRoutes(app, {
    brain,
    coordinator,
    presence,
    takeMedia,
    now,
    log,
    heartbeat_ms: parts.heartbeat_ms ?? HEARTBEAT_MS,
    stalled_ms: parts.stalled_ms ?? STALLED_MS,
  });
  hitlRoutes(app, { brain, coordinator, takeMedia });
  taskRoutes(app, { brain, coordinator, secrets: parts.secrets, forgetTask: parts.sandbox.forgetTask });
  permissionRoutes(app, { brain });
  observabilityRoutes(app, { brain });
  rotateKeyRoute(app, { keys: brain.keys, log });
  sandboxCheckRoute(app, parts.sandbox);
  docsRoutes(app);
  return app;
}
