/** The page of the endpoints, from the document that the orchestrator serves at `/openapi.json`. */
import { code, opening, table } from './markdown.ts';
import { fieldsOf, meaningOf, type Schema, type Schemas, typeOf } from './schema.ts';

type Content = Record<string, { schema?: Schema }>;
type Parameter = { name: string; in: string; required?: boolean; description?: string; schema?: Schema };
type Operation = {
  summary?: string;
  description?: string;
  security?: Record<string, unknown>[];
  parameters?: Parameter[];
  requestBody?: { content?: Content };
  responses?: Record<string, { description?: string; content?: Content }>;
};

export type Document = {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Schemas };
};

const KEYS: Record<string, string> = { platformKey: '`X-Platform-Key`', adminKey: '`X-Admin-Key`' };

export function endpointsPage({ paths, components: { schemas } }: Document): string {
  const all = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => ({
      name: `${method.toUpperCase()} ${path}`,
      operation,
    })),
  );
  return [
    opening(
      'Endpoints',
      'the schemas that validate each request (`orchestrator/src/http`)',
      'The same is served by a running orchestrator at `/docs` and `/openapi.json`. Error codes are explained in [errors.md](errors.md).',
    ),
    table(
      ['Endpoint', 'Key', 'Purpose'],
      all.map(({ name, operation }) => [code(name), keysOf(operation), operation.summary ?? '']),
    ),
    ...all.map(({ name, operation }) => section(name, operation, schemas)),
    ...Object.entries(schemas).flatMap(([name, schema]) => {
      const fields = fieldsOf(schema, schemas);
      return fields.length === 0 ? [] : [`## ${name}\n\n${table(['Field', 'Type', 'Meaning'], fields)}`];
    }),
  ].join('\n');
}

function section(name: string, operation: Operation, schemas: Schemas): string {
  const { summary = '', description = '', parameters = [], requestBody, responses = {} } = operation;
  const body = jsonOf(requestBody?.content);
  const parts = [
    `## ${name}`,
    `${summary.replace(/\w$/, '$&.')} ${description}`.trimEnd(),
    `Key: ${keysOf(operation)}.`,
  ];
  if (parameters.length > 0) {
    const rows = parameters.map((parameter) => {
      const { name: of, in: where, required, schema = {} } = parameter;
      const meaning = meaningOf(
        { ...schema, description: parameter.description ?? schema.description },
        schemas,
      );
      return [`${code(of)}${required ? '' : ' (optional)'}`, where, typeOf(schema, schemas), meaning];
    });
    parts.push(table(['Parameter', 'In', 'Type', 'Meaning'], rows).trimEnd());
  }
  if (body !== undefined) parts.push(table(['Body', 'Type', 'Meaning'], fieldsOf(body, schemas)).trimEnd());
  for (const [status, response] of Object.entries(responses)) {
    if (Number(status) >= 400) continue;
    const answer = jsonOf(response.content);
    const fields = answer === undefined ? [] : fieldsOf(answer, schemas);
    const head = `${status} answer`;
    parts.push(
      fields.length > 0
        ? table([head, 'Type', 'Meaning'], fields).trimEnd()
        : `${status}: ${response.description ?? ''}`,
    );
  }
  const codes = Object.values(responses).flatMap(({ description: words = '' }) =>
    [...words.matchAll(/^`([A-Z_]+)`:/gm)].flatMap(([, word]) => word ?? []),
  );
  if (codes.length > 0) parts.push(`Errors: ${codes.map(code).join(', ')}.`);
  return `${parts.join('\n\n')}\n`;
}

const jsonOf = (content: Content = {}) => content['application/json']?.schema;

function keysOf({ security }: Operation): string {
  if (security === undefined) return 'none';
  return security
    .flatMap(Object.keys)
    .map((name) => KEYS[name] ?? name)
    .join(' or ');
}
