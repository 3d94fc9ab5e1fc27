import { createRoute, z } from '@hono/zod-openapi';
import { type AdmissionDeps, type AdmitFlags, admit } from '../admission/admit.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { ProductRow } from '../registry/products.ts';
import { checkKey, letIn, PLATFORM_KEY, unknownKey } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { answers, BOOT_ERRORS, body, EngineView, UserPath, viewEngine } from './schemas.ts';

export const AdmitBody = z.object({
  auto_provision: z.boolean().default(false).describe('Provision where there is no engine.'),
  auto_wake: z.boolean().default(false).describe('Wake a sleeping engine, restart a failed one.'),
});

const AdmitAnswer = z.union([
  z.object({ admitted: z.literal(true), engine: EngineView }),
  z.object({
    admitted: z.literal(false),
    engine: z.null(),
    reason: z.enum([
      'engine_not_found',
      'engine_sleeping',
      'engine_stopped',
      'engine_unhealthy',
      'engine_destroying',
    ]),
  }),
]);

const admitRoute = createRoute({
  method: 'post',
  path: '/engines/{user_id}/admit',
  summary: "Where is the user's engine?",
  description: 'The entry for every request of a user; idempotent. Meant to be called with both flags true.',
  security: PLATFORM_KEY,
  request: { params: UserPath, ...body(AdmitBody, { required: false }) },
  responses: answers(
    AdmitAnswer,
    'Admitted, with a running engine, or not, with the reason.',
    ...BOOT_ERRORS,
    'RATE_LIMITED',
  ),
});

/** The router's name for the route, as the request log has it. */
export const ADMIT_ROUTE = '/engines/:user_id/admit';

/**
 * Answers an admit by the product whose key has this hash; `accepted` is told which one that is. Throws
 * `INVALID_PLATFORM_KEY`, or what `admit` throws. Bap-engine §2.3.
 */
export async function answerAdmit(
  deps: AdmissionDeps & { master_keys: MasterKeys },
  key_hash: string,
  user_id: string,
  flags: AdmitFlags,
  accepted: (product: ProductRow) => void,
): Promise<z.infer<typeof AdmitAnswer>> {
  const first = await deps.look(key_hash, user_id);
  if (first === null) throw unknownKey();
  accepted(checkKey(first.product, key_hash));
  const admission = await admit(deps, first, user_id, flags);
  return admission.admitted
    ? { admitted: true, engine: viewEngine(deps.master_keys, admission.engine) }
    : { admitted: false, engine: null, reason: admission.reason };
}

/** The admit as the router has it; most come by direct.ts. */
export function admitRoutes(app: App, deps: HttpDeps): void {
  app.openapi(admitRoute, async (c) => {
    const { user_id } = c.req.valid('param');
    const accepted = (product: ProductRow) => letIn(c, product);
    return c.json(await answerAdmit(deps, c.get('key_hash'), user_id, c.req.valid('json'), accepted), 200);
  });
}
