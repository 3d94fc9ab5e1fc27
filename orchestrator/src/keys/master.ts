import { FernetError, type FernetKey, open, parseFernetKey, seal } from './fernet.ts';

/** The master keys: the first seals, every one opens, so a new key can be put in front of the old (O27). */
export type MasterKeys = {
  seal(engineKey: string): string;
  /** Throws `FernetError` when none of the keys sealed it. */
  open(sealed: string): string;
  /** Seals anew with the first key what another of them sealed; null when the first did. Throws as `open`. */
  reseal(sealed: string): string | null;
};

/** Reads `ORCH_MASTER_KEY`: Fernet keys, comma-separated. Null when one of them is not a Fernet key. */
export function parseMasterKeys(text: string): MasterKeys | null {
  const keys: FernetKey[] = [];
  for (const part of text.split(',')) {
    const key = parseFernetKey(part.trim());
    if (key === null) return null;
    keys.push(key);
  }
  const [first] = keys;
  if (first === undefined) return null;
  const unseal = (sealed: string) => {
    for (const key of keys) {
      try {
        return { key, text: open(key, sealed) };
      } catch (error) {
        if (!(error instanceof FernetError)) throw error;
      }
    }
    throw new FernetError('sealed with a master key that ORCH_MASTER_KEY does not list');
  };
  return {
    seal: (engineKey) => seal(first, engineKey),
    open: (sealed) => unseal(sealed).text,
    reseal(sealed) {
      const { key, text } = unseal(sealed);
      return key === first ? null : seal(first, text);
    },
  };
}
