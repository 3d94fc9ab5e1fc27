import { describe, expect, it } from 'vitest';
import { ERRORS } from '../../src/errors.ts';
import { createApp } from '../../src/http/app.ts';
import { startTestOrchestrator } from '../support/orchestrator.ts';

describe('the documentation', () => {
  it('is OpenAPI 3.1, open to everybody, and a page', async () => {
    const { call } = await startTestOrchestrator();
    const { status, body } = await call('GET', '/openapi.json');
    expect([status, body.openapi]).toEqual([200, '3.1.0']);
    const page = await call('GET', '/docs');
    expect(page.headers.get('content-type')).toMatch(/^text\/html/);
    for (const path of Object.keys(body.paths)) expect(page.body).toContain(path);
  });

  it('has every route that there is, with its key, its success and its errors', async () => {
    const { call, orchestrator, config } = await startTestOrchestrator();
    const { paths, components } = (await call('GET', '/openapi.json')).body;
    const app = createApp({
      db: orchestrator.db,
      admin_key: config.admin_key,
      master_keys: config.master_keys,
    } as never);
    const routes = app.routes.filter(({ method }) => method !== 'ALL');
    expect(routes.length).toBeGreaterThan(10);
    for (const { method, path } of routes) {
      const operation = paths[path.replace(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()];
      expect(operation, `${method} ${path}`).toBeDefined();
      expect(operation.summary).toMatch(/./);
      expect(operation.responses[200]).toBeDefined();
      const open = ['/health', '/docs', '/openapi.json'].includes(path);
      const adminOnly = /^\/(products|rollouts|metrics\/prometheus)/.test(path);
      const keys = [
        ...(adminOnly ? [] : [{ platformKey: [] }]),
        ...(adminOnly || method === 'GET' ? [{ adminKey: [] }] : []),
      ];
      expect(operation.security).toEqual(open ? undefined : keys);
      if (!open) expect(operation.responses[401]).toBeDefined();
    }
    expect(Object.keys(components.securitySchemes).sort()).toEqual(['adminKey', 'platformKey']);
    expect(paths['/engines/{user_id}'].get.parameters).toMatchObject([
      { name: 'user_id', in: 'path' },
      { name: 'product_id', in: 'query' },
    ]);
  });

  it('knows for each error what to do about it, and for each 429 and 503 when to try again', () => {
    for (const [code, entry] of Object.entries(ERRORS)) {
      expect(code).toMatch(/^[A-Z_]+$/);
      expect(entry.cause).toMatch(/\.$/);
      expect(entry.advice).toMatch(/\.$/);
      expect('retry_after_s' in entry).toBe(entry.status === 429 || entry.status === 503);
    }
  });
});
