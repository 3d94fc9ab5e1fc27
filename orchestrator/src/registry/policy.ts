import { z } from 'zod';

/** How idle engines sleep, and whether deeper after a while (O5). */
export const SleepMode = z.enum(['label', 'doze', 'hibernate', 'doze+hibernate']);
export type SleepMode = z.infer<typeof SleepMode>;

/** Largest value of a whole number in a policy; PostgreSQL's integer. */
const MAX = 2_147_483_647;

/**
 * A product's policy, the shape of `products.policy`. Every key is optional; `{}` limits nothing. Unknown
 * keys are refused, so that a typing error cannot pass for a limit. Source: bap-engine §6, O19.
 */
export const Policy = z
  .strictObject({
    max_engines: z.int().min(0).max(MAX).optional().describe('Cap on engines, counted over all states.'),
    rate_limit_rpm: z
      .int()
      .min(1)
      .max(MAX)
      .optional()
      .describe('Admits in any 60 seconds, over all users. To let nobody in, use `suspended`.'),
    suspended: z.boolean().optional().describe('true: every admit and provision is refused.'),
    allow_auto_provision: z.boolean().optional().describe('false: admit never provisions.'),
    allowed_versions: z
      .array(z.string().min(1).max(256))
      .max(1000)
      .optional()
      .describe('The values of `engine_version` that may be provisioned.'),
    sleep_mode: SleepMode.optional().describe(
      'How idle engines sleep, instead of ORCH_SLEEP_MODE: `label` in name only, `doze` frozen in memory, `hibernate` stopped, `doze+hibernate` first the one, later the other. A product that keeps URLs instead of admitting each request wants `label`: a sleeping engine does not answer.',
    ),
    destroy_retention_s: z
      .int()
      .min(0)
      .max(MAX)
      .optional()
      .describe(
        'How long a destroyed engine can be restored, seconds; 0 or absent: a DELETE is final unless it says `retain=true`.',
      ),
  })
  .meta({ id: 'Policy' });

export type Policy = z.infer<typeof Policy>;
