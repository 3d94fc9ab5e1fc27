/**
 * Inputs for a tool, made from its JSON Schema: good ones, ones that break it in one place, and ones that are something
 * else altogether. A text is one of those given, or anything.
 */
import fc from 'fast-check';

type Schema = Record<string, unknown> & {
  type?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  anyOf?: Schema[];
  enum?: unknown[];
  items?: Schema;
};

export function inputsOf(schema: Schema, texts: fc.Arbitrary<string>): fc.Arbitrary<unknown> {
  const good = arbitraryOf(schema, texts);
  const broken = fc
    .tuple(good, fc.constantFrom('', ...Object.keys(schema.properties ?? {})), fc.jsonValue())
    .map(([input, name, value]) => ({ ...Object(input), [name]: value }));
  return fc.oneof({ weight: 12, arbitrary: good }, { weight: 3, arbitrary: broken }, fc.jsonValue(), texts);
}

function arbitraryOf(schema: Schema, texts: fc.Arbitrary<string>): fc.Arbitrary<unknown> {
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map((one) => arbitraryOf(one, texts)));
  switch (schema.type) {
    case 'object': {
      const properties = Object.entries(schema.properties ?? {});
      return fc.record(Object.fromEntries(properties.map(([name, one]) => [name, arbitraryOf(one, texts)])), {
        requiredKeys: schema.required ?? [],
      });
    }
    case 'array':
      return fc.array(arbitraryOf(schema.items ?? {}, texts), { maxLength: 5 });
    case 'string':
      return fc.oneof(
        { weight: isFree(schema) ? 1 : 5, arbitrary: textOf(schema) },
        { weight: isFree(schema) ? 3 : 1, arbitrary: texts },
      );
    case 'integer':
      return fc.oneof(fc.integer(boundsOf(schema)), fc.nat(100));
    case 'number':
      return fc.double({ ...boundsOf(schema), noNaN: true });
    case 'boolean':
      return fc.boolean();
    case 'null':
      return fc.constant(null);
    default:
      return fc.jsonValue();
  }
}

/** Whether any text will do. */
const isFree = (schema: Schema) => schema.format === undefined && schema.pattern === undefined;

const FORMATS: Record<string, () => fc.Arbitrary<string>> = {
  'date-time': () => fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
  date: () => fc.date({ noInvalidDate: true }).map((date) => date.toISOString().slice(0, 10)),
  uri: () => fc.webUrl(),
};

function textOf(schema: Schema): fc.Arbitrary<string> {
  const format = FORMATS[String(schema.format)];
  if (format !== undefined) return format();
  if (typeof schema.pattern === 'string') return fc.stringMatching(new RegExp(schema.pattern));
  const minLength = typeof schema.minLength === 'number' ? schema.minLength : 0;
  return fc.oneof(
    fc.string({ unit: 'binary', minLength, maxLength: minLength + 50 }),
    fc.string({ minLength, maxLength: minLength + 50 }),
  );
}

function boundsOf({ minimum, maximum }: Schema): { min?: number; max?: number } {
  const at = (bound: unknown) =>
    typeof bound === 'number' ? Math.max(-(2 ** 31), Math.min(bound, 2 ** 31 - 1)) : undefined;
  const [min, max] = [at(minimum), at(maximum)];
  return { ...(min !== undefined && { min }), ...(max !== undefined && { max }) };
}
