import { createRoute, z } from '@hono/zod-openapi';
import { renderOpenApi } from '@september/openapi-page';
import { VERSION } from '../version.ts';
import { KEY_SCHEMES } from './auth.ts';
import type { App } from './context.ts';

const INFO = {
  openapi: '3.1.0',
  info: {
    title: 'bap-engine',
    version: VERSION,
    description: 'The control plane: one Engine for each user of each product.',
  },
};

const documentRoute = createRoute({
  method: 'get',
  path: '/openapi.json',
  summary: 'This API, as OpenAPI 3.1',
  responses: {
    200: { description: 'The document.', content: { 'application/json': { schema: z.looseObject({}) } } },
  },
});

const pageRoute = createRoute({
  method: 'get',
  path: '/docs',
  summary: 'This API, as a page',
  responses: { 200: { description: 'The page.', content: { 'text/html': { schema: z.string() } } } },
});

/** The documentation of the API, made of the schemas that validate it. Registered last: it shows what is there. */
export function docsRoutes(app: App): void {
  for (const [name, scheme] of Object.entries(KEY_SCHEMES)) {
    app.openAPIRegistry.registerComponent('securitySchemes', name, scheme);
  }
  app.openapi(documentRoute, (c) => c.json({ ...app.getOpenAPI31Document(INFO) }, 200));
  app.openapi(pageRoute, (c) => c.html(renderOpenApi(documentOf(app))));
}

/** The document as a client reads it, back from JSON. */
export function documentOf(app: App) {
  return JSON.parse(JSON.stringify(app.getOpenAPI31Document(INFO)));
}
