/**
 * Which schemas a provider can hold an answer to while it is written (E4).
 *
 * Each enforces a part of JSON Schema of its own, and answers a schema beyond it with an error, or with `{}`
 * where an object is open. So a schema is looked at first; one that is beyond the provider is not sent, and the
 * caller's validation alone holds the answer to it, as it does for models that enforce nothing. The worst a
 * wrong judgement here may do is a repair. Source: engine-api, "Structured outputs".
 */
export type Schema = Record<string, unknown>;

/** Where subschemas stand: one, a list, or by name. */
const NESTED = ['items', 'additionalProperties', 'not', 'if', 'then', 'else', 'contains', 'propertyNames'];
const LISTED = ['anyOf', 'allOf', 'oneOf', 'prefixItems'];
const NAMED = ['properties', '$defs', 'definitions', 'patternProperties'];

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A schema and all schemas in it. */
function* everySchema(schema: Schema): Generator<Schema> {
  yield schema;
  const inner = [
    ...NESTED.map((key) => schema[key]),
    ...LISTED.flatMap((key) => schema[key]),
    ...NAMED.flatMap((key) => Object.values(schema[key] ?? {})),
  ];
  for (const value of inner) if (isSchema(value)) yield* everySchema(value);
}

const names = (schema: Schema) => Object.keys(isSchema(schema.properties) ? schema.properties : {});
const required = (schema: Schema): unknown[] => (Array.isArray(schema.required) ? schema.required : []);
const isObjectSchema = (schema: Schema) =>
  schema.type === 'object' ||
  (Array.isArray(schema.type) && schema.type.includes('object')) ||
  'properties' in schema;

/** OpenAI takes objects only, whatever else they say. */
export const isObjectAtRoot = (schema: Schema) => schema.type === 'object';

/** What OpenAI's strict mode knows: https://platform.openai.com/docs/guides/structured-outputs */
const STRICT_KEYWORDS = new Set([
  ...['$schema', 'title', 'description', 'type', 'enum', 'const', 'anyOf', '$ref', '$defs', 'definitions'],
  ...['properties', 'required', 'additionalProperties', 'items', 'minItems', 'maxItems', 'pattern'],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'],
]);

/** Can OpenAI enforce it? Every object closed, every property required. Else it serves as a strong hint. */
export function isStrict(schema: Schema): boolean {
  return [...everySchema(schema)].every(
    (part) =>
      Object.keys(part).every((keyword) => STRICT_KEYWORDS.has(keyword)) &&
      (!isObjectSchema(part) ||
        (part.additionalProperties === false && names(part).every((name) => required(part).includes(name)))),
  );
}

/** More optional properties than this make Anthropic's grammar too large. */
const MAX_OPTIONAL_PROPERTIES = 10;

/** Can Anthropic enforce it? It closes every object, so there must be none that is meant to be open. */
export function isClosed(schema: Schema): boolean {
  const parts = [...everySchema(schema)];
  const optional = parts.flatMap((part) => names(part).filter((name) => !required(part).includes(name)));
  return (
    !hasReferences(schema) &&
    optional.length <= MAX_OPTIONAL_PROPERTIES &&
    parts.every(
      (part) =>
        !isSchema(part.additionalProperties) &&
        part.additionalProperties !== true &&
        !('patternProperties' in part) &&
        (!isObjectSchema(part) || 'properties' in part || part.additionalProperties === false),
    )
  );
}

/** References may go round in a circle, which only OpenAI takes. */
export function hasReferences(schema: Schema): boolean {
  return [...everySchema(schema)].some((part) => '$ref' in part);
}
