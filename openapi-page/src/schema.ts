import { type Html, html, prose } from './html.ts';

/** The parts of JSON Schema that our documents use. */
export type JsonSchema = {
  $ref?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  format?: string;
  default?: unknown;
  description?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  items?: JsonSchema;
  additionalProperties?: boolean | JsonSchema;
  anyOf?: JsonSchema[];
  oneOf?: JsonSchema[];
  allOf?: JsonSchema[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
};

/** The fields of an object as a table; of anything else its type in one line. Nested objects follow with dotted names. */
export function schemaTable(schema: JsonSchema): Html {
  const fields = fieldsOf(schema, '');
  if (fields.length === 0) return html`<p>${typeOf(schema)}</p>`;
  return html`<table>
      <tr><th>Field<th>Type<th>Required<th>Meaning</tr>
      ${fields.map(
        (f) => html`
      <tr><td><code>${f.name}</code><td>${typeOf(f.schema)}<td>${f.required ? 'yes' : 'no'}<td>${prose(f.schema.description ?? '')}${remarks(f.schema)}</tr>`,
      )}
    </table>`;
}

type Field = { name: string; schema: JsonSchema; required: boolean };

function fieldsOf(schema: JsonSchema, prefix: string): Field[] {
  const inherited = (schema.allOf ?? []).flatMap((part) => fieldsOf(part, prefix));
  const own = Object.entries(schema.properties ?? {}).flatMap(([key, value]) => {
    const name = `${prefix}${key}`;
    const required = schema.required?.includes(key) ?? false;
    return [
      { name, schema: value, required },
      ...fieldsOf(value, `${name}.`),
      ...fieldsOf(value.items ?? {}, `${name}[].`),
    ];
  });
  return [...inherited, ...own];
}

/** A schema's type in a few words, with links to named schemas. */
export function typeOf(schema: JsonSchema): Html {
  if (schema.$ref) {
    const name = schema.$ref.split('/').at(-1) ?? '';
    return html`<a href="#schema-${name}">${name}</a>`;
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return joined(choices.map(typeOf), ' or ');
  if (schema.const !== undefined) return html`<code>${JSON.stringify(schema.const)}</code>`;
  if (schema.enum)
    return joined(
      schema.enum.map((value) => html`<code>${JSON.stringify(value)}</code>`),
      ', ',
    );
  if (schema.type === 'array') return html`list of ${schema.items ? typeOf(schema.items) : 'anything'}`;
  const types = [schema.type ?? (schema.allOf || schema.properties ? 'object' : 'anything')].flat();
  return html`${types.join(' or ')}`;
}

function remarks(schema: JsonSchema): string {
  const bounds = [
    schema.minimum !== undefined && schema.minimum > Number.MIN_SAFE_INTEGER ? `from ${schema.minimum}` : '',
    schema.maximum !== undefined && schema.maximum < Number.MAX_SAFE_INTEGER ? `to ${schema.maximum}` : '',
    schema.minLength !== undefined ? `at least ${schema.minLength} characters` : '',
    schema.maxLength !== undefined ? `at most ${schema.maxLength} characters` : '',
    schema.default !== undefined ? `default ${JSON.stringify(schema.default)}` : '',
  ].filter((text) => text !== '');
  return bounds.length > 0 ? ` (${bounds.join(', ')})` : '';
}

function joined(parts: Html[], separator: string): Html {
  return html`${parts.flatMap((part, i) => (i === 0 ? [part] : [separator, part]))}`;
}
