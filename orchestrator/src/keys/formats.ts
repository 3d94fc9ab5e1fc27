/**
 * The two kinds of key the orchestrator makes, and how keys are compared.
 *
 * A key is stored as its SHA-256 only. A fast hash is right here: the keys are 256 random bits, so there is
 * nothing to guess. Comparison is in constant time, and over hashes, so that neither the content nor the
 * length of a stored key can be timed. Source: bap-engine §4.
 */
import { hash, randomBytes, timingSafeEqual } from 'node:crypto';

const KEY_BYTES = 32;

/** Names the calling product. `pk-sept-` and 43 URL-safe characters. */
export const newPlatformKey = () => `pk-sept-${randomBytes(KEY_BYTES).toString('base64url')}`;

/** Opens one engine. `sk-sept-` and 43 URL-safe characters. */
export const newEngineKey = () => `sk-sept-${randomBytes(KEY_BYTES).toString('base64url')}`;

/** SHA-256 of the key's UTF-8 bytes, 64 lower-case hex digits: `KeyHash` of the engine contract. */
export const hashKey = (key: string) => hash('sha256', key, 'hex');

/** Whether two hashes are the same, in constant time. */
export function sameHash(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a, 'hex'), Buffer.from(b, 'hex')];
  return left.length === right.length && timingSafeEqual(left, right);
}
