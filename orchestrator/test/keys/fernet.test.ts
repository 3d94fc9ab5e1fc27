import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FernetError, open, parseFernetKey, seal } from '../../src/keys/fernet.ts';

const SECRET = 'cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=';

function key(text: string) {
  const parsed = parseFernetKey(text);
  if (parsed === null) throw new Error('not a key');
  return parsed;
}

/** The published vectors of the format: generate.json, verify.json, invalid.json. */
const GENERATED = {
  token:
    'gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==',
  now: '1985-10-26T01:20:00-07:00',
  iv: Buffer.from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
  src: 'hello',
};

const INVALID: [description: string, token: string, refused: string][] = [
  [
    'incorrect mac',
    'gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==',
    'wrong signature',
  ],
  ['too short', 'gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==', 'too short'],
  [
    'invalid base64',
    '%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==',
    'not URL-safe base64',
  ],
  [
    'payload size not multiple of block size',
    'gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm',
    'not whole blocks',
  ],
  [
    'payload padding error',
    'gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==',
    'wrong padding',
  ],
  [
    'incorrect IV (causes padding error)',
    'gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==',
    'wrong padding',
  ],
];

/** Refused by the format only where an age is enforced, which an engine key never has. */
const TOO_OLD_OR_TOO_NEW = [
  'gAAAAAAdwStRAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAnja1xKYyhd-Y6mSkTOyTGJmw2Xc2a6kBd-iX9b_qXQcw==',
  'gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==',
];

describe('Fernet', () => {
  it('seals as the published vector says', () => {
    expect(seal(key(SECRET), GENERATED.src, Date.parse(GENERATED.now), GENERATED.iv)).toBe(GENERATED.token);
  });

  it('opens what the published vector says', () => {
    expect(open(key(SECRET), GENERATED.token)).toBe(GENERATED.src);
  });

  it.each(INVALID)('refuses the published vector: %s', (_, token, refused) => {
    expect(() => open(key(SECRET), token)).toThrow(new FernetError(refused));
  });

  it.each(TOO_OLD_OR_TOO_NEW)('does not look at the time stamp: %s', (token) => {
    expect(open(key(SECRET), token)).toBe('');
  });

  it('opens what it sealed, with this key only', () => {
    const other = key(Buffer.alloc(32, 1).toString('base64'));
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const token = seal(key(SECRET), text);
        expect(open(key(SECRET), token)).toBe(text);
        expect(() => open(other, token)).toThrow(FernetError);
      }),
    );
  });

  it('refuses a token with any one byte changed', () => {
    const bytes = Buffer.from(seal(key(SECRET), 'sk-sept-secret'), 'base64url');
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const damaged = Buffer.from(bytes);
        damaged.writeUInt8(damaged.readUInt8(at) ^ change, at);
        expect(() => open(key(SECRET), damaged.toString('base64url'))).toThrow(FernetError);
      }),
    );
  });

  it.each(['', 'short', 'a'.repeat(44), Buffer.alloc(31).toString('base64'), `${SECRET}!`])(
    'takes only 32 bytes for a key: "%s"',
    (text) => {
      expect(parseFernetKey(text)).toBe(null);
    },
  );
});
