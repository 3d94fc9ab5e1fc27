/**
 * Something that fits a JSON Schema, for the demo model (E4): the simplest value, with the demo's answer wherever text
 * may stand. It goes by the keywords that say what is wanted, not by those that say what is not; where that is not
 * enough the answer is sent back like any model's that gets a schema wrong.
 */
import type { Schema } from './output_schema.ts';

/** A schema may lead into itself for ever, and ask for a million of anything: values and characters of an example. */
const MAX_DEPTH = 8;
const MAX_VALUES = 1_000;
const MAX_TEXT = 10_000;

export function exampleOf(root: Schema, words: string): unknown {
  let left = MAX_VALUES;
  return example(root, 0);

  function example(schema: unknown, depth: number): unknown {
    if (!isSchema(schema) || depth > MAX_DEPTH || left-- <= 0) return null;
    if ('const' in schema) return schema.const;
    if ('default' in schema) return schema.default;
    for (const list of [schema.enum, schema.examples]) if (Array.isArray(list)) return list[0];
    if (typeof schema.$ref === 'string') return example(referred(schema.$ref), depth + 1);
    for (const list of [schema.anyOf, schema.oneOf])
      if (Array.isArray(list)) return example(list[0], depth + 1);
    if (Array.isArray(schema.allOf)) return example(Object.assign({}, ...schema.allOf), depth + 1);
    switch (typeOf(schema)) {
      case 'object':
        return object(schema, depth);
      case 'array':
        return Array.from({ length: Math.min(MAX_VALUES, Math.max(1, number(schema.minItems))) }, () =>
          example(schema.items, depth + 1),
        );
      case 'string':
        return text(schema);
      case 'integer':
      case 'number':
        return Math.max(number(schema.minimum), number(schema.exclusiveMinimum) + 1);
      case 'boolean':
        return true;
      default:
        return null;
    }
  }

  function object({ properties, required }: Schema, depth: number): unknown {
    const named = isSchema(properties) ? properties : {};
    const needed = Array.isArray(required) ? required.map(String) : [];
    // Deep down only what must be there, so that it comes to an end.
    const names = new Set([...(depth < 2 ? Object.keys(named) : []), ...needed]);
    return Object.fromEntries(
      [...names].map((name) => [name, example(named[name] ?? { type: 'string' }, depth + 1)]),
    );
  }

  function text({ minLength, maxLength }: Schema): string {
    const most = typeof maxLength === 'number' ? maxLength : words.length;
    return words.slice(0, most).padEnd(Math.min(MAX_TEXT, number(minLength)), '.');
  }

  /** A JSON pointer into the schema itself. */
  function referred(pointer: string): unknown {
    const steps = pointer
      .replace(/^#\/?/, '')
      .split('/')
      .filter((step) => step !== '');
    return steps.reduce<unknown>(
      (at, step) => (isSchema(at) ? at[step.replaceAll('~1', '/').replaceAll('~0', '~')] : undefined),
      root,
    );
  }
}

const isSchema = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const number = (value: unknown) => (typeof value === 'number' ? value : 0);

function typeOf({ type, properties, items }: Schema): unknown {
  if (Array.isArray(type)) return type[0];
  if (type !== undefined) return type;
  if (properties !== undefined) return 'object';
  return items === undefined ? 'string' : 'array';
}
