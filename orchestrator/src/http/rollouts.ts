import { createRoute, z } from '@hono/zod-openapi';
import { appendAudit } from '../audit/append.ts';
import { OrchestratorError } from '../errors.ts';
import { nextOf, ROLLOUT_STATES, stateOf } from '../fleet/rollout.ts';
import type { Sql } from '../registry/db.ts';
import {
  changeRollout,
  currentRollout,
  listRollouts,
  progressOf,
  type RolloutRow,
} from '../registry/rollouts.ts';
import { ADMIN_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { answers, body, Text } from './schemas.ts';

/** So many images are remembered for people, the latest first. */
const SHOWN = 20;

const RolloutView = z
  .object({
    image: z.string(),
    state: z
      .enum(ROLLOUT_STATES)
      .describe(
        '`canary`: no engine has been well on it for long enough yet; `superseded`: another was begun after it.',
      ),
    percent: z.int().describe('Of the engines that it concerns so many may have it.'),
    running_too: z
      .boolean()
      .describe(
        'Whether engines that run are upgraded when they are idle; else only those that boot anyway.',
      ),
    previous: z
      .string()
      .nullable()
      .describe('What new engines get while it is halted; null: there was no good image before it.'),
    started_at: z.iso.datetime(),
    proven_at: z.iso.datetime().nullable(),
    halted: z.object({ at: z.iso.datetime(), reason: z.string(), engine_id: z.uuid().nullable() }).nullable(),
    engines: z.object({
      concerned: z.int().describe('That follow roll-outs and were on another image, or still are.'),
      upgraded: z.int(),
      under_way: z.int(),
      tried: z.int().describe('That did not get healthy on it, and have their old image again.'),
    }),
    next: z.string(),
  })
  .openapi('Rollout');

const listRoute = createRoute({
  method: 'get',
  path: '/rollouts',
  summary: 'Roll-outs of engine images',
  description: `The current one first, ${SHOWN} at most.`,
  security: ADMIN_KEY,
  responses: answers(z.object({ rollouts: z.array(RolloutView) }), 'The roll-outs.', 'INVALID_ADMIN_KEY'),
});

const changeRoute = createRoute({
  method: 'put',
  path: '/rollouts/current',
  summary: 'Change the current roll-out',
  description:
    'What is absent stays. Another `image` begins its roll-out. With `percent` engines that run are upgraded too, when they are idle; a higher one adds to those that have the image, a lower one takes it from nobody. A halted one goes on with `resume`: it has to prove itself anew, and engines that were tried may be again.',
  security: ADMIN_KEY,
  request: body(
    z.object({
      image: Text.min(1).max(256).optional(),
      percent: z.int().min(0).max(100).optional(),
      resume: z.boolean().default(false),
    }),
    { required: true },
  ),
  responses: answers(RolloutView, 'The roll-out, as it is now.', 'INVALID_ADMIN_KEY', 'ROLLOUT_HALTED'),
});

/** Which image engines are to have. Bap-engine §12. */
export function rolloutRoutes(app: App, deps: HttpDeps): void {
  const { db } = deps;

  async function view(sql: Sql, rollout: RolloutRow, current: RolloutRow) {
    const progress = await progressOf(sql, rollout);
    const { concerned, touched, upgraded, under_way } = progress;
    const { halted_at, halted_reason } = rollout;
    const state = stateOf(rollout, current, progress);
    return {
      image: rollout.image,
      state,
      percent: rollout.percent,
      running_too: rollout.eager,
      previous: rollout.previous,
      started_at: rollout.started_at.toISOString(),
      proven_at: rollout.proven_at?.toISOString() ?? null,
      halted: halted_at && {
        at: halted_at.toISOString(),
        reason: halted_reason ?? '',
        engine_id: rollout.halted_engine,
      },
      engines: { concerned, upgraded, under_way, tried: Math.max(0, touched - upgraded - under_way) },
      next: nextOf(rollout, state, progress, deps),
    };
  }

  app.openapi(listRoute, async (c) => {
    const rows = await listRollouts(db, SHOWN);
    const [current] = rows;
    const rollouts =
      current === undefined ? [] : await Promise.all(rows.map((row) => view(db, row, current)));
    return c.json({ rollouts }, 200);
  });

  app.openapi(changeRoute, async (c) => {
    const wish = c.req.valid('json');
    const answer = await db.tx(async (sql) => {
      const changed = await changeRollout(sql, wish, deps.canary_percent);
      if (changed === null) throw new TypeError('an orchestrator that serves has begun a roll-out');
      if (changed === 'halted') {
        const reason = (await currentRollout(sql))?.halted_reason ?? '';
        throw new OrchestratorError('ROLLOUT_HALTED', `The roll-out is halted: ${reason}`);
      }
      await appendAudit(sql, {
        product_id: null,
        user_id: null,
        engine_id: null,
        action: 'rollout',
        actor: 'admin',
        metadata: { image: changed.image, percent: changed.percent, resumed: wish.resume || undefined },
      });
      return await view(sql, changed, changed);
    });
    return c.json(answer, 200);
  });
}
