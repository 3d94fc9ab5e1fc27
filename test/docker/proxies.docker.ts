/** The proxies' configurations in deploy/, in front of two streams: an event comes through before the next one is sent. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { docker } from './support/deployment.ts';

const root = join(import.meta.dirname, '../..');

async function through(domains: { ORCH_DOMAIN: string; ENGINES_DOMAIN: string }, command: string[]) {
  const mounts = [
    ['deploy/nginx/nginx.conf', '/etc/nginx/nginx.conf'],
    ['deploy/caddy/Caddyfile', '/etc/caddy/Caddyfile'],
    ['test/docker/support/through_proxy.mjs', '/through_proxy.mjs'],
  ].flatMap(([from = '', to]) => ['-v', `${join(root, from)}:${to}:ro`]);
  const env = Object.entries(domains).flatMap(([name, value]) => ['-e', `${name}=${value}`]);
  const printed = await docker(
    ...['run', '--rm', '--network', 'none', ...mounts, ...env, 'proxies:test'],
    ...['node', '/through_proxy.mjs', ...command],
  );
  const { ORCH_DOMAIN, ENGINES_DOMAIN } = domains;
  expect(printed.split('\n')).toEqual([
    `${ORCH_DOMAIN}: data: orchestrator GET /stream?a=b`,
    `${ORCH_DOMAIN}: data: the rest`,
    `${ENGINES_DOMAIN}: data: engine GET /stream?a=b`,
    `${ENGINES_DOMAIN}: data: the rest`,
    '/22/: 404',
    '/8000/health: 404',
    '/: 404',
  ]);
}

it('nginx', async () => {
  await through({ ORCH_DOMAIN: 'orchestrator.example.com', ENGINES_DOMAIN: 'engines.example.com' }, [
    'nginx',
    '-g',
    'daemon off;',
  ]);
});

it('Caddy', async () => {
  // Names for which it makes certificates of its own, as nobody else gives any here.
  await through({ ORCH_DOMAIN: 'localhost', ENGINES_DOMAIN: 'engines.localhost' }, [
    'caddy',
    'run',
    '--config',
    '/etc/caddy/Caddyfile',
    '--adapter',
    'caddyfile',
  ]);
});
