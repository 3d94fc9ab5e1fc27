/**
 * `tools/*.json` of the catalog: an operator's tools, as data. Checked like the rest of the catalog, as a whole and
 * before anything uses it, their schemas too: a schema that is none would fail at the first call, in front of a user,
 * and a misspelt `requires_permission` would be a gate that stands open. Source: engine-runtime, "Definition file".
 */
import { join } from 'node:path';
import type { FieldIssue } from '@september/contract';
import { z } from 'zod';
import { compileJsonSchema, SchemaProblem } from '../json_schema.ts';
import { broken, listJson, readJson } from './files.ts';

/** As providers take names; one with a dot is not among them. */
const NAME = /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/;
const MAX_NAME = 64;

/** The model reads it with every call. */
const MAX_DESCRIPTION = 4_000;

const ToolFile = z.strictObject({
  name: z.string().max(MAX_NAME).regex(NAME, 'must be snake_case: lower case letters, digits, single _'),
  /** What it does and when to use it; drives the model's choice. */
  description: z.string().trim().min(1).max(MAX_DESCRIPTION),
  input_schema: z.looseObject({ type: z.literal('object', 'must be object') }),
  /** Absent: the input itself is the result, for a model that is to extract something. */
  implementation: z
    .strictObject({
      kind: z.literal(
        'platform',
        'must be platform; skills and MCP actions cannot be tools of the catalog yet',
      ),
      /** Name of a platform tool. */
      ref: z.string(),
    })
    .optional(),
  requires_permission: z.boolean().default(false),
  high_cost: z.boolean().default(false),
  /** What may be done with a call that a crash cut off (E15). */
  effect: z.enum(['pure', 'idempotent', 'checkable', 'once']).default('once'),
});

/** `issuesOf`: what is wrong with an input by `input_schema`. */
export type CatalogTool = z.infer<typeof ToolFile> & { issuesOf(input: unknown): FieldIssue[] };

/**
 * @param platform Names of the platform tools.
 * @throws StartError `BAD_CONFIG` naming the file and what is wrong with it; a catalog without the folder has none.
 */
export async function loadTools(dir: string, platform: string[]): Promise<CatalogTool[]> {
  const tools: CatalogTool[] = [];
  for (const name of listJson(join(dir, 'tools'))) {
    const file = join(dir, 'tools', `${name}.json`);
    const tool = readJson(file, ToolFile);
    if (tool.name !== name) throw broken(file, `name must be that of its file, ${name}`);
    const ref = tool.implementation?.ref;
    if (ref !== undefined && !platform.includes(ref)) {
      throw broken(file, `implementation.ref: there is no platform tool ${ref}`);
    }
    if (platform.includes(name) && ref !== name) {
      throw broken(file, `${name} is a platform tool; a definition of that name must stand for it`);
    }
    const issuesOf = await compileJsonSchema(tool.input_schema).catch((error) => {
      if (!(error instanceof SchemaProblem)) throw error;
      throw broken(file, `input_schema${error.path}: ${error.message}`, error);
    });
    tools.push({ ...tool, issuesOf });
  }
  return tools;
}
