/**
 * Secrets on their way into a container: files in the volume of its start, never its settings, which everybody reads who
 * may ask the daemon. The Engine takes each `{NAME}` as `{NAME}_FILE` too (@september/contract).
 *
 * The daemon takes files as a tar archive only; the few bytes of one are written here.
 */
import { ENGINE_SECRETS } from '@september/contract';
import type { EngineSpec } from '../contract.ts';

export const SECRETS_FOLDER = '/run/september';

type Environment = EngineSpec['environment'];

/** `open`: what may be seen. `paths`: the variables that name the files. `files`: their contents by name. */
export function secretFiles(environment: Environment) {
  const secret = new Set<string>(ENGINE_SECRETS);
  const open: Record<string, string> = {};
  const paths: Record<string, string> = {};
  const files: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (secret.has(name)) {
      files[name] = value;
      paths[`${name}_FILE`] = `${SECRETS_FOLDER}/${name}`;
    } else open[name] = value;
  }
  return { open, paths, files };
}

/** Size of a block of a tar archive, bytes. */
const BLOCK = 512;
/** The file's owner alone may read it. */
const MODE = 0o400;

/** `files` by name as a tar archive (POSIX ustar); all belong to `uid`. */
export function tarOf(files: Record<string, string>, uid: number): Buffer {
  const blocks = Object.entries(files).flatMap(([name, content]) => {
    const data = Buffer.from(content);
    return [headerOf(name, data.length, uid), data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

function headerOf(name: string, size: number, uid: number): Buffer {
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, length: number) =>
    header.write(value.toString(8).padStart(length - 1, '0'), offset);
  header.write(name, 0);
  octal(MODE, 100, 8);
  octal(uid, 108, 8);
  octal(uid, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  header.write('0', 156);
  header.write('ustar\u000000', 257);
  // The sum counts its own place as blanks.
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148);
  return header;
}
