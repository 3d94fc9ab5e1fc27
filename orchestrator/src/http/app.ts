import { OpenAPIHono } from '@hono/zod-openapi';
import { OrchestratorError } from '../errors.ts';
import { admitRoutes } from './admit.ts';
import { auditRoutes } from './audit.ts';
import { requireKey } from './auth.ts';
import { emptyBodyMeansDefaults, limitBody } from './body.ts';
import type { App, Env, HttpDeps } from './context.ts';
import { docsRoutes } from './docs.ts';
import { answerError, refuseInvalid } from './errors.ts';
import { eventRoutes } from './events.ts';
import { explainRoutes } from './explain.ts';
import { fleetRoutes } from './fleet.ts';
import { healthRoutes } from './health.ts';
import { lifecycleRoutes } from './lifecycle.ts';
import { metricsRoutes } from './metrics.ts';
import { operationRoutes } from './operations.ts';
import { checkEncoding, rawPath } from './path.ts';
import { productRoutes } from './products.ts';
import { requestLog } from './request_log.ts';
import { rolloutRoutes } from './rollouts.ts';
import { rotateKeyRoutes } from './rotate_key.ts';
import { sleepRoutes } from './sleep.ts';

/** The whole HTTP API. The order is the rule: an id, then a key, then a path and a body worth reading. */
export function createApp(deps: HttpDeps): App {
  const app = new OpenAPIHono<Env>({ getPath: rawPath, defaultHook: refuseInvalid });
  app.onError(answerError(deps.log));
  app.notFound(() => {
    throw new OrchestratorError('NOT_FOUND', 'There is no such endpoint; see /docs.');
  });
  app.use(requestLog(deps.log), requireKey(deps), checkEncoding, limitBody, emptyBodyMeansDefaults);
  healthRoutes(app, deps);
  productRoutes(app, deps);
  lifecycleRoutes(app, deps);
  admitRoutes(app, deps);
  sleepRoutes(app, deps);
  rotateKeyRoutes(app, deps);
  explainRoutes(app, deps);
  operationRoutes(app, deps);
  fleetRoutes(app, deps);
  eventRoutes(app, deps);
  metricsRoutes(app, deps);
  auditRoutes(app, deps);
  rolloutRoutes(app, deps);
  docsRoutes(app);
  return app;
}
