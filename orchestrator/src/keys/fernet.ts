/**
 * Fernet: the sealed form of an engine key at rest. One token is
 *
 *   version 0x80 | seconds since 1970, 8 bytes | IV, 16 bytes | AES-128-CBC, PKCS7 | HMAC-SHA256, 32 bytes
 *
 * as URL-safe base64. The first half of the 32-byte key signs, the second encrypts; the signature covers
 * everything before it and is checked before anything is decrypted. The time stamp is written for the
 * format's sake: an engine key does not expire, so none is enforced. Source: bap-engine §4.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';

const VERSION = 0x80;
const HEADER_BYTES = 1 + 8 + 16;
const MAC_BYTES = 32;
const BLOCK_BYTES = 16;
const URL_SAFE_BASE64 = /^[A-Za-z0-9_-]+={0,2}$/;

/** Prepared once: from plain bytes Node.js prepares a key anew for each call, which takes longer than all the rest. */
export type FernetKey = { sign: KeyObject; encrypt: KeyObject };

/** The token was not sealed with this key, or is damaged. */
export class FernetError extends Error {
  override name = 'FernetError';
}

/** Reads 32 bytes of URL-safe base64 (44 characters with padding); null when it is anything else. */
export function parseFernetKey(text: string): FernetKey | null {
  if (!URL_SAFE_BASE64.test(text)) return null;
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.length !== 32) return null;
  return { sign: createSecretKey(bytes.subarray(0, 16)), encrypt: createSecretKey(bytes.subarray(16)) };
}

/** Seals `text`. `now` (ms since 1970) and `iv` are arguments so that the published vectors can be reproduced. */
export function seal(key: FernetKey, text: string, now = Date.now(), iv: Buffer = randomBytes(16)): string {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt8(VERSION, 0);
  header.writeBigUInt64BE(BigInt(Math.floor(now / 1000)), 1);
  iv.copy(header, 9);
  const cipher = createCipheriv('aes-128-cbc', key.encrypt, iv);
  const signed = Buffer.concat([header, cipher.update(text, 'utf8'), cipher.final()]);
  const token = Buffer.concat([signed, mac(key, signed)]).toString('base64');
  return token.replaceAll('+', '-').replaceAll('/', '_');
}

/** Opens a token. Throws `FernetError` for anything this key did not seal. */
export function open(key: FernetKey, token: string): string {
  if (!URL_SAFE_BASE64.test(token)) throw new FernetError('not URL-safe base64');
  const bytes = Buffer.from(token, 'base64url');
  if (bytes.length < HEADER_BYTES + MAC_BYTES) throw new FernetError('too short');
  const signed = bytes.subarray(0, -MAC_BYTES);
  if (!timingSafeEqual(mac(key, signed), bytes.subarray(-MAC_BYTES)))
    throw new FernetError('wrong signature');
  if (signed[0] !== VERSION) throw new FernetError('unknown version');
  const sealed = signed.subarray(HEADER_BYTES);
  if (sealed.length === 0 || sealed.length % BLOCK_BYTES !== 0) throw new FernetError('not whole blocks');
  const decipher = createDecipheriv('aes-128-cbc', key.encrypt, signed.subarray(9, HEADER_BYTES));
  try {
    return Buffer.concat([decipher.update(sealed), decipher.final()]).toString('utf8');
  } catch (cause) {
    throw new FernetError('wrong padding', { cause });
  }
}

const mac = (key: FernetKey, signed: Buffer) => createHmac('sha256', key.sign).update(signed).digest();
