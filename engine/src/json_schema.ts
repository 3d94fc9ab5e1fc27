/**
 * Checks values by a JSON Schema that others wrote: a caller's `output_schema`, an operator's tool.
 *
 * The schema comes from outside and the value from a model. A reference leads nowhere but into the schema itself, and a
 * pattern that would try for hours on a long text (`(a+)+$`) is stopped, because it would stop the whole Engine.
 */
import { runInNewContext } from 'node:vm';
import type { FieldIssue } from '@september/contract';
import type { ErrorObject, ValidateFunction } from 'ajv';

export type Schema = Record<string, unknown>;

/** What is wrong with a schema; `path` is a JSON pointer into it. */
export class SchemaProblem extends Error {
  override name = 'SchemaProblem';
  readonly path: string;

  constructor(path: string, message: string) {
    super(message);
    this.path = path;
  }
}

/** A schema is said to the model and kept, characters of JSON. */
const MAX_SCHEMA = 64 * 1024;

/** The model mends what it is told; a long list says no more than its beginning. */
const MAX_ISSUES = 10;

/** A check takes microseconds, unless a pattern goes astray; by the clock, so that a busy machine has to have its time. */
const CHECK_MS = 5_000;

const DRAFT_07 = /^https?:\/\/json-schema\.org\/draft-07\/schema#?$/;
const DRAFT_2020_12 = 'https://json-schema.org/draft/2020-12/schema';

/**
 * @returns what is wrong with a value, nothing when it fits; `path` is a JSON pointer into it.
 * @throws SchemaProblem for what is no JSON Schema.
 */
export async function compileJsonSchema(
  schema: Schema,
  check_ms = CHECK_MS,
): Promise<(value: unknown) => FieldIssue[]> {
  const validate = await validatorOf(schema);
  return (value) => {
    try {
      if (isValid(validate, value, check_ms)) return [];
    } catch {
      return [{ path: '', message: 'takes too long to be checked' }];
    }
    return (validate.errors ?? []).slice(0, MAX_ISSUES).map(issueOf);
  };
}

async function validatorOf(schema: Schema): Promise<ValidateFunction> {
  if (sizeOf(schema) > MAX_SCHEMA) {
    throw new SchemaProblem('', `must not be above ${MAX_SCHEMA} characters of JSON`);
  }
  const { $schema = DRAFT_2020_12 } = schema;
  // Loaded with the first schema: an Engine starts often and most turns have none.
  const { Ajv } = await import('ajv');
  const { Ajv2020 } = await import('ajv/dist/2020.js');
  // Formats are notes to the reader, as the standard has it; unknown keywords mean nothing.
  const options = { strict: false, allErrors: true, validateFormats: false, logger: false } as const;
  const is07 = typeof $schema === 'string' && DRAFT_07.test($schema);
  if (!is07 && $schema !== DRAFT_2020_12) {
    throw new SchemaProblem('/$schema', 'must be draft 2020-12 or draft-07, or absent');
  }
  const ajv = is07 ? new Ajv(options) : new Ajv2020(options);
  try {
    if (ajv.validateSchema(schema) !== true) {
      const [first] = (ajv.errors ?? []).map(issueOf);
      throw new SchemaProblem(first?.path ?? '', first?.message ?? 'is no JSON Schema');
    }
    const validate = ajv.compile(schema);
    if ('$async' in validate) throw new SchemaProblem('/$async', 'is no keyword of JSON Schema');
    return validate;
  } catch (error) {
    if (error instanceof SchemaProblem) throw error;
    // A reference to elsewhere, a pattern that is none, nesting without end.
    throw new SchemaProblem('', error instanceof Error ? error.message : 'is no JSON Schema');
  }
}

/** Nesting too deep for JSON to be written again counts as too large. */
function sizeOf(schema: Schema): number {
  try {
    return JSON.stringify(schema).length;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** @throws when it takes longer than `check_ms`: nothing but this stops a regular expression. */
function isValid(validate: ValidateFunction, value: unknown, check_ms: number): boolean {
  return runInNewContext('check()', { check: () => validate(value) }, { timeout: check_ms });
}

function issueOf({ instancePath, message = 'does not fit', params, keyword }: ErrorObject): FieldIssue {
  // Of what is allowed and what is too much Ajv says that it is so, and not what.
  const what = keyword === 'enum' ? params.allowedValues : params.additionalProperty;
  return {
    path: instancePath,
    message: what === undefined ? message : `${message}: ${JSON.stringify(what)}`,
  };
}
