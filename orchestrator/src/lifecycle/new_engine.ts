import { hashKey, newEngineKey } from '../keys/formats.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { KeptKey } from '../registry/engine_keys.ts';
import type { NewEngine } from '../registry/engines.ts';

/** A key for an engine, as it is kept: sealed only. */
export function newKey(master_keys: MasterKeys): KeptKey {
  const api_key = newEngineKey();
  return { key_hash: hashKey(api_key), engine_key_enc: master_keys.seal(api_key) };
}

/** An engine that does not exist yet, with a key of its own. Bap-engine §5.4, "Provision". */
export const newEngine = (
  master_keys: MasterKeys,
  version: Pick<NewEngine, 'engine_version' | 'version_pinned'>,
): NewEngine => ({
  ...version,
  ...newKey(master_keys),
});
