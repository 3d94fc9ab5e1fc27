import { isObject, type Json } from './wire.ts';

/**
 * What is wrong with a schema for a provider that enforces it: each object must say that it is closed, and for
 * OpenAI's strict mode require all of its properties. In the words of OpenAI; `context` is the way there.
 */
export function schemaRefusal(schema: unknown, strict: boolean, context: string[] = []): string | undefined {
  if (!isObject(schema)) return `In context=(${context}), schema must be an object.`;
  if (schema.type === 'object') {
    if (schema.additionalProperties !== false) {
      return `In context=(${context}), 'additionalProperties' is required to be supplied and to be false.`;
    }
    const names = Object.keys(isObject(schema.properties) ? schema.properties : {});
    const missing = strict
      ? names.find((name) => !(Array.isArray(schema.required) && schema.required.includes(name)))
      : undefined;
    if (missing !== undefined) {
      return `In context=(${context}), 'required' is required to be supplied and to be an array including every key in properties. Missing '${missing}'.`;
    }
  }
  const inner: [string, unknown][] = [
    ...Object.entries(isObject(schema.properties) ? schema.properties : {}),
    ...(schema.items === undefined ? [] : [['items', schema.items] as [string, unknown]]),
  ];
  for (const [name, value] of inner) {
    const refused = schemaRefusal(value, strict, [...context, name]);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

/** OpenAI's `{name, strict, schema}`, which its two APIs put in different places. */
export function formatRefusal(format: Json): string | undefined {
  if (!/^[a-zA-Z0-9_-]{1,64}$/.test(String(format.name))) return "Invalid 'response_format.name'.";
  if (isObject(format.schema) && format.schema.type !== 'object') {
    return `Invalid schema for response_format '${format.name}': schema must be a JSON Schema of 'type: "object"', got 'type: "${format.schema.type}"'.`;
  }
  if (format.strict !== true) return undefined;
  const refused = schemaRefusal(format.schema, true);
  return refused && `Invalid schema for response_format '${format.name}': ${refused}`;
}
