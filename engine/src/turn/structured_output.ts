/**
 * The final answer as JSON that fits the caller's schema (E4).
 *
 * Providers hold some models to some schemas while they write (herald/output_schema.ts); the rest is held here: every
 * answer is checked, whoever wrote it, and one that does not fit goes back to the model with what is wrong. Source:
 * engine-api, "Structured outputs".
 */
import type { FieldIssue } from '@september/contract';
import { EngineError } from '../errors.ts';
import { compileJsonSchema, type Schema, SchemaProblem } from '../json_schema.ts';
import type { ContentBlock, TextBlock } from '../types.ts';
import { note } from './note.ts';

/** Answers that may be mended in one turn. */
export const MAX_REPAIRS = 2;

export type Checked = { output: unknown } | { errors: FieldIssue[] };

/**
 * @returns the check of an answer's text. `path` of an error is a JSON pointer into the output.
 * @throws EngineError `VALIDATION_ERROR`, naming the place, for what is no JSON Schema.
 */
export async function compileSchema(schema: Schema, check_ms?: number): Promise<(text: string) => Checked> {
  const issuesOf = await compileJsonSchema(schema, check_ms).catch((error) => {
    throw error instanceof SchemaProblem ? invalid(error) : error;
  });
  return (text) => {
    const json = readJson(text);
    if ('error' in json) return { errors: [{ path: '', message: `is not JSON: ${json.error}` }] };
    const errors = issuesOf(json.value);
    return errors.length === 0 ? { output: json.value } : { errors };
  };
}

function invalid({ path: pointer, message }: SchemaProblem): EngineError {
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
