import { createHash, timingSafeEqual } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';
import { integerOrNull, text, textOrNull } from './sqlite.ts';

/**
 * Which keys open this Engine, and for how long (E12, O8).
 *
 * A key is changed while clients use it, so for a while there are two: until `old_valid_until` both work;
 * until `old_purged_at` the old one is told that it has been replaced; then it is unknown. The brain keeps
 * the hashes, because a rotation made while running must survive a restart with the old environment: only an
 * `ENGINE_KEY_HASH` *other than at the previous boot* counts as a wish to rotate.
 */
export type KeyVerdict = 'valid' | 'rotation_pending' | 'invalid';

/** Unix milliseconds: until when the old key works, and when its hash is gone. */
export type Rotation = { old_valid_until: number; old_purged_at: number };

/** Seconds. */
export type Overlap = { min_s: number; max_s: number };

export type EngineKeys = ReturnType<typeof openEngineKeys>;

type State = {
  boot_hash: string;
  current_hash: string;
  old_hash: string | null;
  old_valid_until: number | null;
  old_purged_at: number | null;
};

export function openEngineKeys(
  db: DatabaseSync,
  options: { boot_hash: string; overlap: Overlap; now: () => number },
) {
  const { boot_hash, overlap, now } = options;
  const upsert = db.prepare(`
    INSERT INTO engine_keys (id, boot_hash, current_hash, old_hash, old_valid_until, old_purged_at)
    VALUES (1, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET boot_hash = excluded.boot_hash, current_hash = excluded.current_hash,
      old_hash = excluded.old_hash, old_valid_until = excluded.old_valid_until, old_purged_at = excluded.old_purged_at`);

  let state: State = load(db) ?? {
    boot_hash,
    current_hash: boot_hash,
    old_hash: null,
    old_valid_until: null,
    old_purged_at: null,
  };

  function save(next: State): void {
    upsert.run(next.boot_hash, next.current_hash, next.old_hash, next.old_valid_until, next.old_purged_at);
    state = next;
  }

  function rotated(key_hash: string, { min_s, max_s }: Overlap): State {
    if (key_hash === state.current_hash) return state;
    const at = now();
    return {
      ...state,
      current_hash: key_hash,
      old_hash: state.current_hash,
      old_valid_until: at + min_s * 1000,
      old_purged_at: at + max_s * 1000,
    };
  }

  save({ ...(state.boot_hash === boot_hash ? state : rotated(boot_hash, overlap)), boot_hash });

  return {
    /** Judges the key of a request in constant time: both hashes are always compared. */
    check(key: string): KeyVerdict {
      const hash = createHash('sha256').update(key, 'utf8').digest();
      const is_current = timingSafeEqual(hash, Buffer.from(state.current_hash, 'hex'));
      const is_old = timingSafeEqual(hash, Buffer.from(state.old_hash ?? state.current_hash, 'hex'));
      if (is_current) return 'valid';
      if (!is_old) return 'invalid';
      const at = now();
      if (at < (state.old_valid_until ?? 0)) return 'valid';
      return at < (state.old_purged_at ?? 0) ? 'rotation_pending' : 'invalid';
    },

    /** Committed when this returns. The current hash again changes nothing and answers with the same times. */
    rotate(key_hash: string, wanted: Partial<Overlap>): Rotation {
      const max_s = wanted.max_s ?? Math.max(overlap.max_s, wanted.min_s ?? 0);
      const min_s = wanted.min_s ?? Math.min(overlap.min_s, max_s);
      const next = rotated(key_hash, { min_s, max_s });
      if (next !== state) save(next);
      return { old_valid_until: next.old_valid_until ?? now(), old_purged_at: next.old_purged_at ?? now() };
    },

    /** Forgets an old hash whose time is over. */
    purge(): void {
      if (state.old_hash !== null && now() >= (state.old_purged_at ?? 0)) save({ ...state, old_hash: null });
    },
  };
}

function load(db: DatabaseSync): State | undefined {
  const row = db
    .prepare(
      'SELECT boot_hash, current_hash, old_hash, old_valid_until, old_purged_at FROM engine_keys WHERE id = 1',
    )
    .get();
  if (row === undefined) return undefined;
  return {
    boot_hash: text(row, 'boot_hash'),
    current_hash: text(row, 'current_hash'),
    old_hash: textOrNull(row, 'old_hash'),
    old_valid_until: integerOrNull(row, 'old_valid_until'),
    old_purged_at: integerOrNull(row, 'old_purged_at'),
  };
}
