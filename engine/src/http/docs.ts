import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import type { Bindings } from './bindings.ts';

/** Of this API, not of a build. */
const API_VERSION = '0.1.0';

const document = createRoute({
  method: 'get',
  path: '/openapi.json',
  summary: 'This API as an OpenAPI 3.1 document. No key.',
  responses: {
    200: {
      description: 'The document',
      content: { 'application/json': { schema: z.record(z.string(), z.unknown()) } },
    },
  },
});

const page = createRoute({
  method: 'get',
  path: '/docs',
  summary: 'The same as a page to read. No key.',
  responses: { 200: { description: 'The page', content: { 'text/html': { schema: z.string() } } } },
});

/** The API documents itself, from the schemas that validate. Made when asked for: most Engines never are. */
export function docsRoutes(app: OpenAPIHono<Bindings>): void {
  const describe = () =>
    app.getOpenAPI31Document({
      openapi: '3.1.0',
      info: {
        title: 'Engine',
        version: API_VERSION,
        description: 'A single-tenant agentic runtime: one process, one brain, one user.',
      },
    });
  app.openAPIRegistry.registerComponent('securitySchemes', 'engine_key', {
    type: 'apiKey',
    in: 'header',
    name: 'X-Engine-Key',
  });
  app.openapi(document, (c) => c.json({ ...describe() }, 200));
  app.openapi(page, async (c) => {
    const { renderOpenApi } = await import('@september/openapi-page');
    // Read back from JSON, as a client reads it.
    return c.html(renderOpenApi(JSON.parse(JSON.stringify(describe()))), 200);
  });
}
