import { createRoute, z } from '@hono/zod-openapi';
import type { Presence } from '../backends/contract.ts';
import { OrchestratorError } from '../errors.ts';
import { explain, explainVersion } from '../fleet/explain.ts';
import { engineOf } from '../registry/engines.ts';
import { type AuditFact, lastAudit, lastOperation } from '../registry/explain.ts';
import { openIncident } from '../registry/incidents.ts';
import { productById } from '../registry/products.ts';
import { currentRollout } from '../registry/rollouts.ts';
import { tombstoneOf } from '../registry/tombstones.ts';
import { OfUsersProduct, PLATFORM_OR_ADMIN_KEY, productOfUser } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { OperationView, viewOperation } from './operations.ts';
import { answers, EngineSummary, STATUSES, UserPath } from './schemas.ts';

const Audit = z.object({
  timestamp: z.iso.datetime(),
  action: z.string(),
  actor: z.string(),
  metadata: z.looseObject({}),
});

const Explanation = EngineSummary.pick({ engine_id: true, user_id: true, sleep_depth: true })
  .extend({
    status: z
      .enum([...STATUSES, 'destroyed'])
      .describe('`destroyed`: the user has no engine, but the last one can be restored.'),
    rule: z.string().describe('What put the engine into this state.'),
    source: z.string().describe('Where that is written.'),
    evidence: z.object({
      process: z
        .object({
          state: z.enum(['present', 'absent', 'unknown']),
          epoch: z.int().optional(),
          frozen: z.boolean().optional(),
        })
        .describe('Asked at this moment.'),
      probe: z
        .object({
          health: z.enum(['ok', 'reduced', 'ill']),
          seen: z.string().nullable(),
          ill_in_a_row: z.int(),
          well_at: z.iso.datetime().nullable(),
        })
        .nullable()
        .describe('The last probe, while the engine runs or after it failed.'),
      operation: OperationView.nullable().describe('The last one.'),
      failure: Audit.nullable().describe(
        'The last time the engine was found ill or gone, with how its process ended.',
      ),
      audit: Audit.nullable().describe('The last row of the audit log.'),
    }),
    version: z.object({
      image: z.string().describe('What it runs, or ran last.'),
      pinned: z.boolean().describe('Its provision named the version: no roll-out changes it.'),
      wanted: z.string().nullable().describe('What the current roll-out would have it run; null: nothing.'),
      upgrade: z.string().describe('Whether it is to be upgraded, or why not.'),
    }),
    next: z
      .object({ what: z.string(), at: z.iso.datetime() })
      .nullable()
      .describe('What happens next by itself; null: nothing.'),
    advice: z.string().describe('What a person may do.'),
  })
  .openapi('Explanation');

const explainRoute = createRoute({
  method: 'get',
  path: '/engines/{user_id}/explain',
  summary: 'Why is the engine in this state?',
  description: 'The rule, the evidence, what comes next and what to do; from what is true at this moment.',
  security: PLATFORM_OR_ADMIN_KEY,
  request: { params: UserPath, query: OfUsersProduct },
  responses: answers(
    Explanation,
    'The explanation.',
    'INVALID_PLATFORM_KEY',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
    'ENGINE_NOT_FOUND',
  ),
});

/** O29. */
export function explainRoutes(app: App, { db, lifecycle, health, restarts }: HttpDeps): void {
  app.openapi(explainRoute, async (c) => {
    const { user_id } = c.req.valid('param');
    const product_id = productOfUser(c);
    const found = await engineOf(db, product_id, user_id);
    const engine = found?.engine ?? (await tombstoneOf(db, product_id, user_id));
    if (engine === null) throw new OrchestratorError('ENGINE_NOT_FOUND', 'The user has no engine.');
    const [presence, operation, incident, failure, audit, rollout, product] = await Promise.all([
      lifecycle.presence(engine.id),
      lastOperation(db, engine.id),
      openIncident(db),
      lastAudit(db, engine.id, 'health_failed'),
      lastAudit(db, engine.id),
      currentRollout(db),
      productById(db, product_id),
    ]);
    const { next, ...words } = explain({
      engine,
      process: presence.state,
      operation,
      incident,
      health,
      restarts,
    });
    return c.json(
      {
        engine_id: engine.id,
        user_id,
        status: engine.status,
        ...(engine.status === 'sleeping' &&
          engine.sleep_depth !== null && { sleep_depth: engine.sleep_depth }),
        ...words,
        evidence: {
          process: viewPresence(presence),
          probe: engine.health && {
            health: engine.health,
            seen: engine.health_seen,
            ill_in_a_row: engine.ill_probes,
            well_at: engine.last_health_at?.toISOString() ?? null,
          },
          operation: operation && viewOperation(operation),
          failure: failure && viewAudit(failure),
          audit: audit && viewAudit(audit),
        },
        version: {
          image: engine.engine_version,
          pinned: engine.version_pinned,
          ...explainVersion(engine, rollout, product?.policy.allowed_versions),
        },
        next: next && { what: next.what, at: next.at.toISOString() },
      },
      200,
    );
  });
}

const viewAudit = (row: AuditFact) => ({ ...row, timestamp: row.timestamp.toISOString() });

/** Without the last words of a crash and the reasons of the system: those may say anything. */
const viewPresence = (presence: Presence) =>
  presence.state === 'present' ? presence : { state: presence.state };
