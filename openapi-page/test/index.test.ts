import { expect, it } from 'vitest';
import { renderOpenApi } from '../src/index.ts';

const page = renderOpenApi({
  info: { title: 'Bakery <API>', version: '1.2.3', description: 'Bread & "rolls"' },
  paths: {
    '/loaves/{id}': {
      put: {
        summary: 'Replace a `loaf`',
        security: [{ baker: [] }],
        parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }],
        requestBody: {
          content: {
            'application/json': {
              schema: {
                type: 'object',
                required: ['flour'],
                properties: {
                  flour: { enum: ['rye', 'wheat'] },
                  crumbs: {
                    type: 'array',
                    items: { type: 'object', properties: { size: { type: 'integer', maximum: 9 } } },
                  },
                },
              },
            },
          },
        },
        responses: {
          200: {
            description: 'done',
            content: { 'application/json': { schema: { $ref: '#/components/schemas/Loaf' } } },
          },
        },
      },
      get: { summary: 'Look at a loaf', responses: {} },
    },
  },
  components: {
    securitySchemes: { baker: { name: 'X-Baker-Key' } },
    schemas: { Loaf: { type: 'object', properties: { baked: { type: ['boolean', 'null'] } } } },
  },
});

it('lists every call with its key, parameters, body fields and answers', () => {
  expect(page).toContain('<code>PUT /loaves/{id}</code>');
  expect(page).toContain('<code>GET /loaves/{id}</code>');
  expect(page).toContain('Key: X-Baker-Key');
  expect(page).toContain('No key needed.');
  expect(page).toContain('Replace a <code>loaf</code>');
  expect(page).toContain(
    '<td><code>flour</code><td><code>&quot;rye&quot;</code>, <code>&quot;wheat&quot;</code><td>yes',
  );
  expect(page).toContain('<code>crumbs[].size</code><td>integer<td>no<td> (to 9)');
  expect(page).toContain('<a href="#schema-Loaf">Loaf</a>');
  expect(page).toContain('<section id="schema-Loaf">');
  expect(page).toContain('boolean or null');
});

it('escapes whatever the document says', () => {
  expect(page).toContain('<h1>Bakery &lt;API&gt;');
  expect(page).toContain('Bread &amp; &quot;rolls&quot;');
  expect(page).not.toContain('<API>');
});
