/** JSON Schema, as far as the API's document uses it, in words for a table. */
import { code } from './markdown.ts';

export type Schema = {
  $ref?: string;
  type?: string | string[];
  format?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  description?: string;
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  required?: string[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  allOf?: Schema[];
};

export type Schemas = Record<string, Schema>;

/** Name, type and meaning of every field of an object, of all the shapes it may have. */
export function fieldsOf(schema: Schema, schemas: Schemas): string[][] {
  const whole = resolve(schema, schemas);
  const shapes = whole.anyOf ?? whole.oneOf;
  if (shapes !== undefined) {
    const rows = shapes.flatMap((shape) => fieldsOf(shape, schemas));
    return [...new Map(rows.map((row) => [row.join(), row])).values()];
  }
  return Object.entries(whole.properties ?? {}).flatMap(([name, field]) => {
    const required = whole.required?.includes(name) ?? false;
    const own = [
      required ? code(name) : `${code(name)} (optional)`,
      typeOf(field, schemas),
      // What is required has no default, whatever its schema says for other places.
      required ? (field.description ?? '') : meaningOf(field, schemas),
    ];
    return [
      own,
      ...nested(field, schemas).map(([inner = '', ...rest]) => [within(name, field, inner), ...rest]),
    ];
  });
}

/** The fields of an object, or of each of a list, that has no name of its own. */
function nested(field: Schema, schemas: Schemas): string[][] {
  if (field.$ref !== undefined) return [];
  if (field.items !== undefined) return nested(field.items, schemas);
  return field.properties === undefined ? [] : fieldsOf(field, schemas);
}

const within = (name: string, field: Schema, inner: string) =>
  inner.replace('`', `\`${name}${field.items === undefined ? '' : '[]'}.`);

/** A type in a few words; named types by their name. */
export function typeOf(schema: Schema, schemas: Schemas): string {
  if (schema.$ref !== undefined) {
    const named = resolve(schema, schemas);
    return named.enum === undefined ? nameOf(schema.$ref) : typeOf(named, schemas);
  }
  if (schema.const !== undefined) return code(JSON.stringify(schema.const));
  if (schema.enum !== undefined) return schema.enum.map((value) => code(String(value))).join(', ');
  const shapes = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (shapes !== undefined) return [...new Set(shapes.map((shape) => typeOf(shape, schemas)))].join(' or ');
  const type = [schema.type ?? 'any'].flat().join(' or ');
  if (schema.items !== undefined) return `list of ${typeOf(schema.items, schemas)}`;
  return schema.format === undefined ? type : `${type} (${schema.format})`;
}

/** What it says of itself, with its default. */
export function meaningOf(schema: Schema, schemas: Schemas): string {
  const { description = '', default: byDefault } = { ...resolve(schema, schemas), ...schema };
  if (byDefault === undefined) return description;
  return `${description} Default ${code(JSON.stringify(byDefault))}.`.trimStart();
}

function resolve(schema: Schema, schemas: Schemas): Schema {
  if (schema.$ref !== undefined) return resolve(schemas[nameOf(schema.$ref)] ?? {}, schemas);
  const { allOf, ...own } = schema;
  return (allOf ?? []).reduceRight((whole, part) => merge(resolve(part, schemas), whole), own);
}

const merge = (a: Schema, b: Schema): Schema => ({
  ...a,
  ...b,
  ...((a.properties ?? b.properties) && { properties: { ...a.properties, ...b.properties } }),
  ...((a.required ?? b.required) && { required: [...(a.required ?? []), ...(b.required ?? [])] }),
});

const nameOf = (ref: string) => ref.slice(ref.lastIndexOf('/') + 1);
