import { hashKey, newEngineKey } from '../keys/formats.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { NewEngine } from '../registry/engines.ts';

/** An engine that does not exist yet, with a key of its own, which is kept sealed only. Bap-engine §5.4, "Provision". */
export function newEngine(master_keys: MasterKeys, engine_version: string): NewEngine {
  const api_key = newEngineKey();
  return {
    engine_version,
    key_hash: hashKey(api_key),
    engine_key_enc: master_keys.seal(api_key),
  };
}
