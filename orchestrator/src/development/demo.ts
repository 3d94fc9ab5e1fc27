/**
 * What a new user needs in order to hear an answer: a product, a user with an engine, and the commands to
 * paste. The product is written into the registry with a key that is already on disk; from there on the demo
 * walks in through the public API like anybody else.
 */
import { hashKey } from '../keys/formats.ts';
import type { Db } from '../registry/db.ts';
import { insertProduct, productByKeyHash } from '../registry/products.ts';

export const DEMO_USER = 'demo-user-001';
/**
 * Enough to play with, little enough that a runaway script does not fill the machine. `label`: who pastes the
 * printed commands keeps the engine's address, and an engine that really sleeps would not answer there (O5).
 */
const DEMO_POLICY = { max_engines: 10, rate_limit_rpm: 600, sleep_mode: 'label' } as const;

export type DemoEngine = { url: string; api_key: string };

/** Makes the product `demo` unless it is there. */
export async function ensureDemoProduct(db: Db, platformKey: string): Promise<void> {
  const api_key_hash = hashKey(platformKey);
  if ((await productByKeyHash(db, api_key_hash)) !== null) return;
  await insertProduct(db, {
    slug: 'demo',
    display_name: 'Demo product',
    api_key_hash,
    policy: DEMO_POLICY,
  });
}

/** Admits the demo user. Throws with the orchestrator's own words when that fails. */
export async function admitDemoUser(url: string, platformKey: string): Promise<DemoEngine> {
  const response = await fetch(`${url}/engines/${DEMO_USER}/admit`, {
    method: 'POST',
    headers: { 'X-Platform-Key': platformKey, 'Content-Type': 'application/json' },
    body: JSON.stringify({ auto_provision: true, auto_wake: true }),
  });
  const answer = (await response.json()) as {
    engine?: DemoEngine | null;
    reason?: string;
    error?: { message: string };
  };
  if (!answer.engine) throw new Error(answer.error?.message ?? answer.reason ?? `HTTP ${response.status}`);
  return answer.engine;
}

/** The next commands, complete: each can be pasted into any shell as it stands. */
export function demoCommands(url: string, platformKey: string, engine: DemoEngine): string {
  return `
  Admit a user (brings an engine up where there is none, answers its URL and key):

    curl -s -X POST ${url}/engines/${DEMO_USER}/admit \\
      -H 'X-Platform-Key: ${platformKey}' -H 'Content-Type: application/json' \\
      -d '{"auto_provision":true,"auto_wake":true}'

  Talk to the user's engine; the answer streams:

    curl -N -X POST ${engine.url}/execute \\
      -H 'X-Engine-Key: ${engine.api_key}' -H 'Content-Type: application/json' \\
      -d '{"message":"Say hello.","task_id":"demo-001"}'

  See the fleet:

    curl -s ${url}/status -H 'X-Platform-Key: ${platformKey}'
`;
}
