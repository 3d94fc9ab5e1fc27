/**
 * Images, for tests on a backend that has none: programs that are all the stand-in, by names of their own. It looks at
 * the name it was started by, and behaves as `stand_in.json` says for that image.
 */
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { isSystemError } from '../../src/backends/process.ts';

export const STAND_IN = join(import.meta.dirname, 'stand_in_engine.ts');

/** The program of an image. */
export function programs(data_dir: string): (image: string) => string {
  const folder = join(data_dir, 'images');
  return (image) => {
    mkdirSync(folder, { recursive: true });
    const program = join(folder, `${image.replaceAll('/', '_')}.ts`);
    try {
      symlinkSync(STAND_IN, program);
    } catch (error) {
      if (!isSystemError(error, 'EEXIST')) throw error;
    }
    return program;
  };
}
