import { describe, expect, it } from 'vitest';
import { parseMasterKeys } from '../../src/keys/master.ts';

const [OLD, NEW] = [Buffer.alloc(32, 1).toString('base64url'), Buffer.alloc(32, 2).toString('base64url')];

function masterKeys(text: string) {
  const keys = parseMasterKeys(text);
  if (keys === null) throw new Error('not master keys');
  return keys;
}

describe('the master keys', () => {
  it('seal with the first and open with every one', () => {
    const sealedByOld = masterKeys(OLD).seal('sk-sept-1');
    const both = masterKeys(`${NEW}, ${OLD}`);
    expect(both.open(sealedByOld)).toBe('sk-sept-1');
    expect(masterKeys(NEW).open(both.seal('sk-sept-2'))).toBe('sk-sept-2');
  });

  it('say so when none of them fits', () => {
    expect(() => masterKeys(NEW).open(masterKeys(OLD).seal('x'))).toThrow(/ORCH_MASTER_KEY does not list/);
  });

  it('seal anew what another of them sealed, and leave what the first did', () => {
    const both = masterKeys(`${NEW},${OLD}`);
    const anew = both.reseal(masterKeys(OLD).seal('sk-sept-1'));
    expect(anew === null ? null : masterKeys(NEW).open(anew)).toBe('sk-sept-1');
    expect(both.reseal(both.seal('sk-sept-2'))).toBeNull();
    expect(() => masterKeys(NEW).reseal(masterKeys(OLD).seal('x'))).toThrow(/does not list/);
  });

  it('are refused as a whole when one is no key', () => {
    expect(parseMasterKeys(`${NEW},nonsense`)).toBe(null);
    expect(parseMasterKeys('')).toBe(null);
  });
});
