import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Engine, type Json, startEngine, temporaryFolder } from './support/engine.ts';

let engine: Engine;
let document: Json;

beforeAll(async () => {
  engine = await startEngine(temporaryFolder());
  document = await (await fetch(`${engine.url}/openapi.json`)).json();
});

afterAll(() => engine.stop());

describe('/openapi.json', () => {
  it('is an OpenAPI 3.1 document of the schemas that validate', () => {
    expect(document.openapi).toBe('3.1.0');
    expect(document.components.schemas.ExecuteRequest.required).toEqual(['message', 'task_id']);
    expect(document.components.schemas.Health.required).toContain('subsystems');
    expect(document.components.securitySchemes.engine_key).toMatchObject({
      in: 'header',
      name: 'X-Engine-Key',
    });
    const stream = document.paths['/execute'].post.responses['200'].content['text/event-stream'];
    expect(JSON.stringify(stream)).toContain('StreamedEvent');
    const events = document.components.schemas.StreamedEvent.anyOf;
    expect(events).toContainEqual({ $ref: '#/components/schemas/Heartbeat' });
    for (const event of events) expect(Object.keys(event)).toEqual(['$ref']);
  });

  it('has every route that answers, says which need a key, and tells the truth about it', async () => {
    const routes: [string, string][] = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods as object).map((method): [string, string] => [method.toUpperCase(), path]),
    );
    expect(routes.map((route) => route.join(' ')).sort()).toEqual([
      'DELETE /permissions/{permission_id}',
      'DELETE /tasks/{task_id}',
      'GET /activity',
      'GET /docs',
      'GET /execute/replay',
      'GET /health',
      'GET /hitl/pending',
      'GET /observability/events',
      'GET /openapi.json',
      'GET /permissions',
      'GET /tasks',
      'GET /tasks/{task_id}',
      'POST /admin/rotate-key',
      'POST /admin/sandbox-check',
      'POST /execute',
      'POST /hitl/respond',
      'POST /tasks/{task_id}/cancel',
    ]);
    for (const [method, path] of routes) {
      const operation = document.paths[path][method.toLowerCase()];
      const open = await fetch(engine.url + path, { method });
      await open.body?.cancel();
      expect(open.status === 401, `${method} ${path}`).toBe(operation.security !== undefined);
      const known = await engine.fetch(path, { method });
      // A path that names something may well name nothing that is there.
      const isUnknown = (await known.text()).includes(`There is no ${method} `);
      expect(isUnknown, `${method} ${path}`).toBe(false);
    }
  });
});

it('/docs is a page of the same', async () => {
  const page = await fetch(`${engine.url}/docs`);
  expect(page.headers.get('content-type')).toContain('text/html');
  const html = await page.text();
  for (const path of Object.keys(document.paths)) expect(html).toContain(path);
});
