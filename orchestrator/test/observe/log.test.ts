import { execFile } from 'node:child_process';
import { describe, expect, it } from 'vitest';

const LOG = new URL('../../src/observe/log.ts', import.meta.url).href;

/** What a process that ends with `end` has written to its log. */
const written = (end: string) =>
  new Promise<string[]>((resolve) => {
    const program = `import { openLog } from '${LOG}';
      const log = openLog(1, 'info');
      for (const n of [1, 2, 3]) log.info({ n });
      ${end}`;
    execFile(process.execPath, ['--input-type=module', '--eval', program], (_, stdout) =>
      resolve(stdout.trim().split('\n')),
    );
  });

describe('the log of a process', () => {
  it.each([
    ['exits', 'process.exit(0);'],
    ['exits right after an error', "log.error('it broke'); process.exit(1);"],
    ['breaks', "throw new Error('it broke');"],
    ['has nothing more to do', ''],
  ])('that %s is whole', async (_, end) => {
    const lines = (await written(end)).map((line) => JSON.parse(line));
    expect(lines.slice(0, 3)).toMatchObject([{ n: 1 }, { n: 2 }, { n: 3 }]);
    expect(lines.slice(3).map(({ msg }) => msg)).toEqual(end.includes('log.error') ? ['it broke'] : []);
  });
});
