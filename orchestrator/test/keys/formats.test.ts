import { describe, expect, it } from 'vitest';
import { hashKey, newEngineKey, newPlatformKey, sameHash } from '../../src/keys/formats.ts';

describe('keys', () => {
  it('have the documented formats and are never the same', () => {
    expect(newPlatformKey()).toMatch(/^pk-sept-[\w-]{43}$/);
    expect(newEngineKey()).toMatch(/^sk-sept-[\w-]{43}$/);
    expect(new Set(Array.from({ length: 100 }, newEngineKey)).size).toBe(100);
  });

  it('are hashed with SHA-256', () => {
    expect(hashKey('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });

  it('compare by their hash', () => {
    expect(sameHash(hashKey('a'), hashKey('a'))).toBe(true);
    expect(sameHash(hashKey('a'), hashKey('b'))).toBe(false);
    expect(sameHash(hashKey('a'), '')).toBe(false);
  });
});
