import { z } from 'zod';

/** Lower-case hex SHA-256 of a key's UTF-8 bytes. The only form in which an engine key is handed to an Engine. */
export const KeyHash = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'must be the SHA-256 of the key as 64 lower-case hex digits');

/** Body of the Engine's `POST /admin/rotate-key` (E23). Overlaps are seconds; the Engine's own defaults apply when absent. */
export const RotateKeyRequest = z
  .object({
    key_hash: KeyHash,
    /** How long the old key still works, seconds. */
    min_overlap_s: z.int().min(0).max(86_400).optional(),
    /** When the old hash is purged, seconds; not below `min_overlap_s`. */
    max_overlap_s: z.int().min(0).max(86_400).optional(),
  })
  .meta({ id: 'RotateKeyRequest' });

/** Answer of `POST /admin/rotate-key`, sent only after the new hash is committed to the brain (E12). */
export const RotateKeyResponse = z
  .object({
    status: z.literal('rotated'),
    old_key_valid_until: z.iso.datetime(),
    old_key_purged_at: z.iso.datetime(),
  })
  .meta({ id: 'RotateKeyResponse' });

export type RotateKeyRequest = z.infer<typeof RotateKeyRequest>;
export type RotateKeyResponse = z.infer<typeof RotateKeyResponse>;
