/**
 * `permissions.json` of the catalog: what is allowed, asked about or refused. Checked like the rest of the catalog, as
 * a whole and before anything uses it: a rule that does nothing because of a misspelt field would be a gate that stands
 * open. Without the file what the documentation says holds. Source: engine-runtime, "Permissions".
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DANGERS, type Danger } from '../permissions/deeds.ts';
import { readJson } from './files.ts';

/** Rules, and words of one: far more than anybody writes by hand. */
const MAX_RULES = 500;
const MAX_WORDS = 50;

const names = Object.keys(DANGERS) as [Danger, ...Danger[]];

/**
 * There is no rule that allows: deny beats ask beats allow, so such a rule could say nothing. What is asked about by
 * default is allowed under `dangers`.
 */
const Rule = z
  .strictObject({
    decision: z.enum(['ask', 'deny']),
    /** Said in the question, or to the model. */
    reason: z.string().min(1).max(500),
    /** Name of a tool; `*` for all. */
    tool: z.string().min(1).optional(),
    /** The first words of a simple command; `*` for any word. */
    command: z.array(z.string().min(1)).min(1).max(MAX_WORDS).optional(),
    /** What is written or deleted: this, or anything below. */
    path: z.string().startsWith('/').optional(),
    /** `example.com`, or `*.example.com` for all below it. */
    host: z.string().min(1).optional(),
  })
  .refine(
    ({ tool, command, path, host }) =>
      [tool, command, path, host].filter((one) => one !== undefined).length === 1,
    'needs exactly one of tool, command, path and host',
  );

export const PermissionRules = z.strictObject({
  dangers: z.partialRecord(z.enum(names), z.enum(['allow', 'ask', 'deny'])).default({}),
  rules: z.array(Rule).max(MAX_RULES).default([]),
  /** A file from this size on is not replaced without a question, bytes. */
  significant_bytes: z.int().nonnegative().default(1024),
});

export type PermissionRules = z.infer<typeof PermissionRules>;
export type PermissionRule = PermissionRules['rules'][number];

export const DEFAULT_RULES: PermissionRules = PermissionRules.parse({});

/** @throws StartError `BAD_CONFIG` naming the field. */
export function loadPermissions(dir: string): PermissionRules {
  const file = join(dir, 'permissions.json');
  return existsSync(file) ? readJson(file, PermissionRules) : DEFAULT_RULES;
}
