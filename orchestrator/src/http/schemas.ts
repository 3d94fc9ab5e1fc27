import { z } from '@hono/zod-openapi';
import type { ErrorCode } from '../errors.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { LiveEngine, LiveStatus, SleepDepth } from '../registry/engines.ts';
import { errorResponses } from './errors.ts';

/** Longest user id, characters. */
const MAX_USER_ID = 256;

/** Text that PostgreSQL can hold and every client can send back: no NUL, no half of a surrogate pair. */
export const Text = z
  .string()
  .refine((text) => !text.includes('\0') && text.isWellFormed(), 'must be well-formed text without NUL');

/**
 * A user as the product names them. `.` and `..` are refused because URL clients take them for directions:
 * such an engine could be made and never addressed.
 */
export const UserId = Text.refine((id) => id !== '', 'must not be empty')
  .refine((id) => [...id].length <= MAX_USER_ID, `must have at most ${MAX_USER_ID} characters`)
  .refine((id) => id !== '.' && id !== '..', 'must not be "." or ".."')
  .openapi({ description: `Any text of 1 to ${MAX_USER_ID} characters, unique within the product.` });

export const UserPath = z.object({
  user_id: UserId.openapi({
    param: { name: 'user_id', in: 'path', description: 'The user, percent-encoded.' },
  }),
});

export const STATUSES = [
  'provisioning',
  'running',
  'sleeping',
  'stopped',
  'failed',
  'destroying',
] as const satisfies LiveStatus[];

export const DEPTHS = ['label', 'doze', 'hibernate'] as const satisfies SleepDepth[];

/** An engine as lists show it: without its key. */
export const EngineSummary = z
  .object({
    engine_id: z.uuid(),
    user_id: z.string(),
    status: z.enum(STATUSES),
    url: z
      .string()
      .nullable()
      .describe('Where the Engine answers; also set while it is stopped. Null before its first start.'),
    host_url: z
      .string()
      .optional()
      .describe(
        'The same on the machine of the engine itself, where `url` is a name in a network of containers.',
      ),
    sleep_depth: z
      .enum(DEPTHS)
      .optional()
      .describe(
        'Only while `status` is `sleeping`: `label` in name only, `doze` frozen in memory, `hibernate` stopped.',
      ),
    engine_version: z.string(),
    created_at: z.iso.datetime(),
    last_health_at: z.iso.datetime().nullable(),
  })
  .openapi('EngineSummary');

/** An engine with the key that opens it. */
export const EngineView = EngineSummary.extend({
  api_key: z.string().describe('For `X-Engine-Key` on calls to the Engine. Do not store it.'),
}).openapi('Engine');

/** What is shown of an engine. */
export type ShownEngine = Pick<
  LiveEngine,
  | 'id'
  | 'user_id'
  | 'status'
  | 'url'
  | 'host_url'
  | 'sleep_depth'
  | 'engine_version'
  | 'created_at'
  | 'last_health_at'
>;

/** Where it answers (O14). */
export const addressOf = ({ url, host_url }: Pick<LiveEngine, 'url' | 'host_url'>) => ({
  url,
  ...(host_url !== null && { host_url }),
});

export function summarize(engine: ShownEngine): z.infer<typeof EngineSummary> {
  return {
    engine_id: engine.id,
    user_id: engine.user_id,
    status: engine.status,
    ...addressOf(engine),
    ...(engine.status === 'sleeping' && engine.sleep_depth !== null && { sleep_depth: engine.sleep_depth }),
    engine_version: engine.engine_version,
    created_at: engine.created_at.toISOString(),
    last_health_at: engine.last_health_at?.toISOString() ?? null,
  };
}

/** An engine with its key, opened for this answer only (O2). */
export const viewEngine = (
  master_keys: MasterKeys,
  engine: ShownEngine & Pick<LiveEngine, 'engine_key_enc'>,
): z.infer<typeof EngineView> => ({
  ...summarize(engine),
  api_key: master_keys.open(engine.engine_key_enc),
});

/** Largest page of a list. */
const MAX_LIMIT = 1000;
const MAX_OFFSET = 2_147_483_647;

/** A whole number in a query. */
function queryInteger(min: number, max: number, byDefault: number) {
  const message = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,10}$/, message)
    .transform(Number)
    .refine((value) => value >= min && value <= max, message)
    .default(byDefault)
    .openapi({ type: 'integer', minimum: min, maximum: max, default: byDefault });
}

/** The page of a list, in a query. */
export const PAGE = { limit: queryInteger(1, MAX_LIMIT, 100), offset: queryInteger(0, MAX_OFFSET, 0) };

/** The answers of an endpoint: success with this body, or one of the errors. Handlers throw errors, so only success is typed. */
export function answers<S extends z.ZodType>(
  schema: S,
  description: string,
  ...errors: ErrorCode[]
): { 200: { description: string; content: { 'application/json': { schema: S } } } } {
  return {
    200: { description, content: { 'application/json': { schema } } },
    ...errorResponses(errors),
  };
}

/** What any call that brings an engine up may answer. */
export const BOOT_ERRORS = [
  'INVALID_PLATFORM_KEY',
  'POLICY_DENIED',
  'QUOTA_EXCEEDED',
  'BACKEND_ERROR',
  'PORT_EXHAUSTION',
  'BOOT_TIMEOUT',
] as const;

/** A JSON body, for a route. Not marked as required where no body stands for the defaults. */
export function body<S extends z.ZodType>(schema: S, options: { required: boolean }) {
  return { body: { required: options.required, content: { 'application/json': { schema } } } } as const;
}
