/**
 * The final answer as JSON that fits the caller's schema (E4).
 *
 * Providers hold some models to some schemas while they write (herald/output_schema.ts); the rest is held here: every
 * answer is checked, whoever wrote it, and one that does not fit goes back to the model with what is wrong. The schema
 * comes from outside and the answer from a model: a reference leads nowhere but into the schema itself, and a pattern
 * that would try for hours on a long text (`(a+)+$`) is stopped, because it would stop the whole Engine. Source:
 * engine-api, "Structured outputs".
 */
import { runInNewContext } from 'node:vm';
import type { FieldIssue } from '@september/contract';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { EngineError } from '../errors.ts';
import type { ContentBlock, TextBlock } from '../types.ts';
import { note } from './note.ts';

export type Schema = Record<string, unknown>;

/** Answers that may be mended in one turn. */
export const MAX_REPAIRS = 2;

/** A schema is said to the model and kept with the turn, characters of JSON. */
const MAX_SCHEMA = 64 * 1024;

/** The model mends what it is told; a long list says no more than its beginning. */
const MAX_ERRORS = 10;

/** A check takes microseconds, unless a pattern goes astray; by the clock, so that a busy machine has to have its time. */
const CHECK_MS = 5_000;

export type Checked = { output: unknown } | { errors: FieldIssue[] };

const DRAFT_07 = /^https?:\/\/json-schema\.org\/draft-07\/schema#?$/;
const DRAFT_2020_12 = 'https://json-schema.org/draft/2020-12/schema';

/**
 * @returns the check of an answer's text. `path` of an error is a JSON pointer into the output.
 * @throws EngineError `VALIDATION_ERROR`, naming the place, for what is no JSON Schema.
 */
export async function compileSchema(schema: Schema, check_ms = CHECK_MS): Promise<(text: string) => Checked> {
  const validate = await validatorOf(schema);
  return (text) => {
    const json = readJson(text);
    if ('error' in json) return { errors: [{ path: '', message: `is not JSON: ${json.error}` }] };
    try {
      if (isValid(validate, json.value, check_ms)) return { output: json.value };
    } catch {
      return { errors: [{ path: '', message: 'takes too long to be checked' }] };
    }
    return { errors: (validate.errors ?? []).slice(0, MAX_ERRORS).map(issueOf) };
  };
}

async function validatorOf(schema: Schema): Promise<ValidateFunction> {
  if (sizeOf(schema) > MAX_SCHEMA) throw invalid('', `must not be above ${MAX_SCHEMA} characters of JSON`);
  const { $schema = DRAFT_2020_12 } = schema;
  // Loaded with the first schema: an Engine starts often and most turns have none.
  const { Ajv } = await import('ajv');
  const { Ajv2020 } = await import('ajv/dist/2020.js');
  // Formats are notes to the reader, as the standard has it; unknown keywords mean nothing.
  const options = { strict: false, allErrors: true, validateFormats: false, logger: false } as const;
  const is07 = typeof $schema === 'string' && DRAFT_07.test($schema);
  if (!is07 && $schema !== DRAFT_2020_12) {
    throw invalid('/$schema', 'must be draft 2020-12 or draft-07, or absent');
  }
  const ajv = is07 ? new Ajv(options) : new Ajv2020(options);
  try {
    if (ajv.validateSchema(schema) !== true) {
      const [first] = (ajv.errors ?? []).map(issueOf);
      throw invalid(first?.path ?? '', first?.message ?? 'is no JSON Schema');
    }
    const validate = ajv.compile(schema);
    if ('$async' in validate) throw invalid('/$async', 'is no keyword of JSON Schema');
    return validate;
  } catch (error) {
    if (error instanceof EngineError) throw error;
    // A reference to elsewhere, a pattern that is none, nesting without end.
    throw invalid('', error instanceof Error ? error.message : 'is no JSON Schema');
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

function invalid(pointer: string, message: string): EngineError {
  const path = ['body.output_schema', ...pointer.split('/').slice(1)].join('.');
  return new EngineError('VALIDATION_ERROR', `${path}: ${message}`, { issues: [{ path, message }] });
}

/** Some models put JSON between fences, whatever they are told: what is in them is meant, if nothing is around. */
const FENCED = /^```(?:json)?\n(.*)\n```$/is;

function readJson(text: string): { value: unknown } | { error: string } {
  const said = text.trim();
  try {
    return { value: JSON.parse(FENCED.exec(said)?.[1] ?? said) };
  } catch (error) {
    return { error: error instanceof Error ? error.message : 'unreadable' };
  }
}

function issueOf({ instancePath, message = 'does not fit', params, keyword }: ErrorObject): FieldIssue {
  // Of what is allowed and what is too much Ajv says that it is so, and not what.
  const what = keyword === 'enum' ? params.allowedValues : params.additionalProperty;
  return {
    path: instancePath,
    message: what === undefined ? message : `${message}: ${JSON.stringify(what)}`,
  };
}

/** The text of an answer, over all the messages it was said in. */
export const textOf = (content: ContentBlock[]): string =>
  content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');

/** What stands with the person's message. */
export const schemaNote = (schema: Schema): TextBlock =>
  note(
    'output_schema',
    `Your final answer to this message has to be one JSON value that fits the JSON Schema below, and nothing else: no words around it, no code fence. You may use tools before.\n${JSON.stringify(schema)}`,
  );

/** Behind a message that asked for a schema and is answered again without one: what was sent stays (E14). */
export const NO_SCHEMA_NOTE: TextBlock = note(
  'output_schema',
  'This time your answer no longer has to fit the JSON Schema above: answer in words.',
);

export const repairNote = (errors: FieldIssue[]): TextBlock =>
  note(
    'repair',
    [
      'Your answer does not fit the JSON Schema that was asked for:',
      ...errors.map(({ path, message }) => `- ${path === '' ? 'the answer' : path} ${message}`),
      'Give the whole answer again, mended: one JSON value and nothing else.',
    ].join('\n'),
  );
