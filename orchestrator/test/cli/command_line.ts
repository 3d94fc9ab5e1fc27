import { type Process, run } from '../../src/cli/run.ts';

export type Ended = { exit: number; out: string; err: string };

/** Runs `bap-engine` in this process; `columns`: as if on a terminal of that width. */
export async function bapEngine(
  argv: string[],
  options: { env?: Process['env']; cwd?: string; columns?: number } = {},
): Promise<Ended> {
  const { env = {}, cwd = '/', columns } = options;
  const ended = { exit: 0, out: '', err: '' };
  const terminal = (name: 'out' | 'err') => ({
    write(text: string) {
      ended[name] += text;
    },
    columns,
  });
  ended.exit = await run({ argv, env, cwd, out: terminal('out'), err: terminal('err') });
  return ended;
}
