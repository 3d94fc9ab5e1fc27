import { createRoute, z } from '@hono/zod-openapi';
import { AUDIT_ACTIONS } from '../audit/append.ts';
import { type AuditRow, listAudit } from '../audit/query.ts';
import { OfProduct, PLATFORM_OR_ADMIN_KEY } from './auth.ts';
import type { App, HttpDeps } from './context.ts';
import { answers, PAGE, Text, UserId } from './schemas.ts';

/** Longest name in the column `actor`: a product's slug has 63 characters. */
const MAX_ACTOR = 63;

/** A moment in a query. */
const moment = (description: string) =>
  z.iso
    .datetime({ offset: true, error: 'must be a moment like 2026-01-31T12:00:00Z' })
    .transform((text) => new Date(text))
    .optional()
    .openapi({ type: 'string', format: 'date-time', description });

/** Where a page ended. Opaque, so that nobody counts on what it is: the id of the last row. */
const Cursor = z
  .string()
  .transform((cursor) => Buffer.from(cursor, 'base64url').toString())
  .refine((id) => /^\d{1,15}$/.test(id), 'must be the `next_cursor` of an answer')
  .transform(Number)
  .optional()
  .openapi({ type: 'string', description: 'The `next_cursor` of the page before, with the same order.' });

const toCursor = (id: number) => Buffer.from(String(id)).toString('base64url');

const AuditRowView = z
  .object({
    id: z.int(),
    timestamp: z.iso.datetime().describe('When the action started.'),
    product_id: z.uuid().nullable().describe('Null: the level of the system.'),
    user_id: z.string().nullable(),
    engine_id: z.uuid().nullable().describe('Null: the level of the product.'),
    action: z.enum(AUDIT_ACTIONS),
    actor: z.string().describe("`system`, `admin`, or the product's slug."),
    metadata: z.looseObject({}).describe('Facts about the action.'),
    duration_ms: z.int().nullable().describe('Where it could be measured.'),
    seq: z.int().describe('Its number in the chain of its product.'),
    hash: z
      .string()
      .describe(
        'SHA-256 of this row and the one before it: kept elsewhere, proof of all rows up to this one.',
      ),
  })
  .openapi('AuditRow');

const listRoute = createRoute({
  method: 'get',
  path: '/audit',
  summary: 'The audit log',
  description:
    'In the order in which rows were written; conditions that are given must all be met. The page behind `next_cursor` goes on where this one ended, whatever is written meanwhile. Of one product that leaves out nothing; of all, a row that is being written at this very moment may come in before the place where the page ended.',
  security: PLATFORM_OR_ADMIN_KEY,
  request: {
    query: OfProduct.extend({
      user_id: UserId.optional(),
      engine_id: z.uuid().optional(),
      action: z.enum(AUDIT_ACTIONS).optional(),
      actor: Text.min(1).max(MAX_ACTOR).optional(),
      from: moment('Actions that started at this moment or later.'),
      to: moment('Actions that started before this moment.'),
      order: z
        .enum(['asc', 'desc'])
        .default('desc')
        .openapi({ description: '`desc`: newest first; `asc`: oldest first.' }),
      limit: PAGE.limit,
      cursor: Cursor,
    }),
  },
  responses: answers(
    z.object({
      rows: z.array(AuditRowView),
      next_cursor: z
        .string()
        .nullable()
        .describe(
          'Null at the end. With `order=asc` null only where nothing was found yet: what is written later comes behind it.',
        ),
    }),
    'One page.',
    'INVALID_PLATFORM_KEY',
    'INVALID_ADMIN_KEY',
    'PRODUCT_NOT_FOUND',
  ),
});

/** What was done, when and by whom: a product sees its own rows, an operator all. Bap-engine §11, O20. */
export function auditRoutes(app: App, { db }: HttpDeps): void {
  app.openapi(listRoute, async (c) => {
    const { order, limit, cursor, ...filter } = c.req.valid('query');
    const after = cursor ?? null;
    // One more than asked for tells whether there is another page.
    const found = await listAudit(db, c.var.slice, filter, { order, after, limit: limit + 1 });
    const rows = found.slice(0, limit);
    const end = rows.at(-1)?.id ?? after;
    const goesOn = found.length > limit || order === 'asc';
    return c.json({ rows: rows.map(view), next_cursor: goesOn && end !== null ? toCursor(end) : null }, 200);
  });
}

const view = (row: AuditRow) => ({ ...row, timestamp: row.timestamp.toISOString() });
