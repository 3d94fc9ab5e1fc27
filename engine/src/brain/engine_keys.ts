import { createHash, timingSafeEqual } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { integer, integerOrNull, text, transaction } from './sqlite.ts';

/**
 * Which keys open this Engine, and for how long (E12, O8).
 *
 * A key is changed while clients use it, so for a while there are several: until its `valid_until` a replaced key
 * works; until `purged_at` it is told that it has been replaced; then it is unknown. Each keeps its own time, also
 * when the next rotation follows soon: somebody was promised it. The brain keeps the hashes, because a rotation made
 * while running must survive a restart with the old environment: only an `ENGINE_KEY_HASH` *other than at the
 * previous boot* counts as a wish to rotate.
 *
 * Only the current key rotates. A replaced key may repeat the rotation that replaced it, because the answer may have
 * been lost; anything else would let a request that was late, or a key that leaked and was replaced for it, take the
 * Engine away from whoever holds the current key.
 */
export type KeyVerdict = 'valid' | 'rotation_pending' | 'invalid';

/** Unix milliseconds: until when the key that was replaced last works, and when its hash is gone. */
export type Rotation = { old_valid_until: number; old_purged_at: number };

/** Seconds. */
export type Overlap = { min_s: number; max_s: number };

export type EngineKeys = ReturnType<typeof openEngineKeys>;

/** More replaced keys than this at once come only of a loop that rotates; the oldest is forgotten then. */
const MAX_OLD_KEYS = 1000;

type OldKey = { hash: string; valid_until: number; purged_at: number };

type State = {
  boot_hash: string;
  current_hash: string;
  /** Limits of the last rotation; kept after its old key is gone. */
  last: Rotation | null;
  /** Replaced keys, the oldest first. */
  old: OldKey[];
};

export function openEngineKeys(
  db: DatabaseSync,
  options: { boot_hash: string; overlap: Overlap; now: () => number },
) {
  const { boot_hash, overlap, now } = options;
  const upsert = db.prepare(`
    INSERT INTO engine_keys (id, boot_hash, current_hash, old_valid_until, old_purged_at) VALUES (1, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET boot_hash = excluded.boot_hash, current_hash = excluded.current_hash,
      old_valid_until = excluded.old_valid_until, old_purged_at = excluded.old_purged_at`);
  const forget = db.prepare('DELETE FROM old_engine_keys WHERE hash = ?');
  const remember = db.prepare(`
    INSERT INTO old_engine_keys (hash, valid_until, purged_at) VALUES (?, ?, ?)
    ON CONFLICT (hash) DO UPDATE SET valid_until = excluded.valid_until, purged_at = excluded.purged_at`);

  let state: State = load(db) ?? { boot_hash, current_hash: boot_hash, last: null, old: [] };

  function save(next: State): void {
    transaction(db, () => {
      const { boot_hash, current_hash, last } = next;
      upsert.run(boot_hash, current_hash, last?.old_valid_until ?? null, last?.old_purged_at ?? null);
      for (const key of state.old) if (!next.old.includes(key)) forget.run(key.hash);
      for (const key of next.old) {
        if (!state.old.includes(key)) remember.run(key.hash, key.valid_until, key.purged_at);
      }
    });
    state = next;
  }

  function rotated(key_hash: string, { min_s, max_s }: Overlap): State {
    if (key_hash === state.current_hash) return state;
    const at = now();
    const valid_until = at + min_s * 1000;
    const purged_at = at + max_s * 1000;
    // A key that comes back is an old one no more.
    const others = state.old.filter(({ hash }) => hash !== key_hash && hash !== state.current_hash);
    return {
      ...state,
      current_hash: key_hash,
      last: { old_valid_until: valid_until, old_purged_at: purged_at },
      old: [...others, { hash: state.current_hash, valid_until, purged_at }].slice(-MAX_OLD_KEYS),
    };
  }

  save({ ...(state.boot_hash === boot_hash ? state : rotated(boot_hash, overlap)), boot_hash });

  return {
    /** Judges the key of a request in constant time: all hashes are always compared. */
    check(key: string): KeyVerdict {
      const hash = digest(key);
      const is_current = isSame(hash, state.current_hash);
      const old = state.old.filter((one) => isSame(hash, one.hash))[0];
      if (is_current) return 'valid';
      if (old === undefined) return 'invalid';
      const at = now();
      if (at < old.valid_until) return 'valid';
      return at < old.purged_at ? 'rotation_pending' : 'invalid';
    },

    /**
     * Rotates to `key_hash`, by order of whoever holds the key `by`; committed when this returns. The current hash
     * again changes nothing and answers with the same times. Null, without effect: `by` has been replaced itself.
     */
    rotate(by: string, key_hash: string, wanted: Partial<Overlap>): Rotation | null {
      if (key_hash !== state.current_hash && !isSame(digest(by), state.current_hash)) return null;
      const max_s = wanted.max_s ?? Math.max(overlap.max_s, wanted.min_s ?? 0);
      const min_s = wanted.min_s ?? Math.min(overlap.min_s, max_s);
      const next = rotated(key_hash, { min_s, max_s });
      if (next !== state) save(next);
      return next.last ?? { old_valid_until: now(), old_purged_at: now() };
    },

    /** Forgets old hashes whose time is over. */
    purge(): void {
      const at = now();
      const old = state.old.filter(({ purged_at }) => at < purged_at);
      if (old.length < state.old.length) save({ ...state, old });
    },
  };
}

const digest = (key: string) => createHash('sha256').update(key, 'utf8').digest();

const isSame = (hash: Buffer, stored: string) => timingSafeEqual(hash, Buffer.from(stored, 'hex'));

function load(db: DatabaseSync): State | undefined {
  const row = db
    .prepare('SELECT boot_hash, current_hash, old_valid_until, old_purged_at FROM engine_keys WHERE id = 1')
    .get();
  if (row === undefined) return undefined;
  const old_valid_until = integerOrNull(row, 'old_valid_until');
  const old_purged_at = integerOrNull(row, 'old_purged_at');
  const old = db.prepare('SELECT hash, valid_until, purged_at FROM old_engine_keys ORDER BY rowid').all();
  return {
    boot_hash: text(row, 'boot_hash'),
    current_hash: text(row, 'current_hash'),
    last: old_valid_until === null || old_purged_at === null ? null : { old_valid_until, old_purged_at },
    old: old.map((one) => ({
      hash: text(one, 'hash'),
      valid_until: integer(one, 'valid_until'),
      purged_at: integer(one, 'purged_at'),
    })),
  };
}
