/**
 * An OpenAPI 3.1 document as one readable page: no script, no network, no state.
 *
 * Both programs serve it at `/docs`. The viewers on npm weigh 1 to 4 MB, bring up to 120 packages and need a
 * script in the browser, for what is a list of calls and tables of fields; this is the one thing the two
 * programs share beside the contract.
 */

import { type Html, html, prose, raw } from './html.ts';
import { type JsonSchema, schemaTable, typeOf } from './schema.ts';

type Content = Record<string, { schema?: JsonSchema }>;
type Parameter = { name: string; in: string; required?: boolean; description?: string; schema?: JsonSchema };
type Operation = {
  summary?: string;
  description?: string;
  security?: Record<string, unknown>[];
  parameters?: Parameter[];
  requestBody?: { content?: Content };
  responses?: Record<string, { description?: string; content?: Content }>;
};

/** What the page reads of a document; anything more is ignored. */
export type OpenApiDocument = {
  info: { title: string; version: string; description?: string };
  paths?: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, JsonSchema>; securitySchemes?: Record<string, { name?: string }> };
};

const METHODS = ['get', 'post', 'put', 'patch', 'delete'];

/** The whole page, as a string of HTML. */
export function renderOpenApi(document: OpenApiDocument): string {
  const { info, paths = {}, components = {} } = document;
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => {
      const operation = item[method];
      return operation ? [{ method: method.toUpperCase(), path, operation }] : [];
    }),
  );
  const page = html`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${info.title}</title>
<style>${raw(STYLE)}</style>
<header>
  <h1>${info.title} <small>${info.version}</small></h1>
  <p>${prose(info.description ?? '')}</p>
  <p>The same as data: <a href="openapi.json">openapi.json</a></p>
</header>
<nav>
  <h2>Calls</h2>
  <ul>${operations.map(
    ({ method, path, operation }) => html`
    <li><a href="#${idOf(method, path)}"><code>${method} ${path}</code></a> ${prose(operation.summary ?? '')}</li>`,
  )}
  </ul>
</nav>
<main>
  ${operations.map(({ method, path, operation }) => section(method, path, operation, components.securitySchemes ?? {}))}
  <h2>Schemas</h2>
  ${Object.entries(components.schemas ?? {}).map(
    ([name, schema]) => html`
  <section id="schema-${name}">
    <h3>${name}</h3>
    ${schema.description ? html`<p>${prose(schema.description)}</p>` : ''}
    ${schemaTable(schema)}
  </section>`,
  )}
</main>
</html>
`;
  return page.text;
}

function section(
  method: string,
  path: string,
  operation: Operation,
  schemes: Record<string, { name?: string }>,
): Html {
  const keys = (operation.security ?? [])
    .flatMap((entry) => Object.keys(entry))
    .map((name) => schemes[name]?.name ?? name);
  const body = Object.entries(operation.requestBody?.content ?? {});
  return html`
  <section id="${idOf(method, path)}">
    <h2><b class="${method.toLowerCase()}">${method}</b> <code>${path}</code></h2>
    <p>${prose(operation.summary ?? '')}</p>
    ${operation.description ? html`<p>${prose(operation.description)}</p>` : ''}
    <p class="key">${keys.length > 0 ? `Key: ${keys.join(' or ')}` : 'No key needed.'}</p>
    ${operation.parameters?.length ? parameterTable(operation.parameters) : ''}
    ${body.map(([type, { schema }]) => html`<h3>Body <small>${type}</small></h3>${schema ? schemaTable(schema) : ''}`)}
    <h3>Answers</h3>
    <table>
      <tr><th>Status<th>Meaning<th>Body</tr>
      ${Object.entries(operation.responses ?? {}).map(
        ([status, response]) => html`
      <tr><td>${status}<td>${prose(response.description ?? '')}<td>${contentTypes(response.content)}</tr>`,
      )}
    </table>
  </section>`;
}

function parameterTable(parameters: Parameter[]): Html {
  return html`<h3>Parameters</h3>
    <table>
      <tr><th>Name<th>In<th>Type<th>Required<th>Meaning</tr>
      ${parameters.map(
        (p) => html`
      <tr><td><code>${p.name}</code><td>${p.in}<td>${p.schema ? typeOf(p.schema) : ''}<td>${p.required ? 'yes' : 'no'}<td>${prose(p.description ?? p.schema?.description ?? '')}</tr>`,
      )}
    </table>`;
}

const contentTypes = (content: Content | undefined): Html[] =>
  Object.entries(content ?? {}).map(
    ([type, { schema }]) => html`${schema ? typeOf(schema) : ''} <small>${type}</small> `,
  );

const idOf = (method: string, path: string) =>
  `${method}${path}`.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');

const STYLE = `
  :root { color-scheme: light dark; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  code { font-family: ui-monospace, monospace; font-size: .95em; }
  small { color: GrayText; font-weight: normal; }
  section { border-top: 1px solid color-mix(in srgb, currentColor 20%, transparent); margin-top: 2rem; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
  h2 b { font-size: .8em; padding: .1rem .5rem; border-radius: .3rem; color: #fff; background: #57606a; }
  h2 b.get { background: #1a7f37; } h2 b.post { background: #0969da; } h2 b.put { background: #9a6700; } h2 b.delete { background: #cf222e; }
  .key { color: GrayText; }
`;
