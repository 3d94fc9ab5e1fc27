/**
 * One call of `bap-engine`, from what was typed to the exit code. What comes out is either for people or, with
 * `--json`, exactly one JSON document on standard output, whatever happens; words beside it go to standard error.
 */

import type { Io, Result } from './command.ts';
import { COMMANDS } from './commands.ts';
import { asFailure, type CommandFailure, EXIT_CODES } from './failure.ts';
import { helpOn, overview } from './help.ts';
import { parse } from './parse.ts';

/** Where it writes. `columns`: the terminal's width; undefined where it is none. */
export type Terminal = { write(text: string): unknown; columns: number | undefined };

export type Process = {
  argv: readonly string[];
  env: Record<string, string | undefined>;
  cwd: string;
  out: Terminal;
  err: Terminal;
};

/** Runs it; gives the exit code. Never throws. */
export async function run({ argv, env, cwd, out, err }: Process): Promise<number> {
  let json = argv.includes('--json');
  let progressShown = false;
  const clearProgress = () => {
    if (progressShown) err.write('\r\x1b[K');
    progressShown = false;
  };
  const io: Io = {
    env,
    cwd,
    note: (text) => void (json || err.write(`${text}\n`)),
    progress(text) {
      if (err.columns === undefined) return;
      err.write(`\r\x1b[K${text.slice(0, err.columns - 1)}`);
      progressShown = true;
    },
  };
  try {
    const parsed = parse(argv, COMMANDS);
    if (parsed.kind === 'help') {
      out.write(`${parsed.about.length === 0 ? overview(COMMANDS) : helpOn(parsed.about)}\n`);
      return EXIT_CODES.ok.exit;
    }
    json = parsed.json;
    const result = await parsed.command.run(parsed.given, io);
    clearProgress();
    out.write(json ? asJson(result.json) : forPeople(result, out.columns));
    return EXIT_CODES[result.failed ? 'failed' : 'ok'].exit;
  } catch (error) {
    clearProgress();
    const failure = asFailure(error);
    if (json) out.write(asJson(errorBody(failure)));
    else err.write(`bap-engine: ${failure.message}\n${failure.advice ? `${failure.advice}\n` : ''}`);
    return EXIT_CODES[failure.ending].exit;
  }
}

function forPeople({ people, next = [] }: Result, width: number | undefined): string {
  const text = people(width ?? Number.POSITIVE_INFINITY);
  // To a pipe goes the result alone.
  if (next.length === 0 || width === undefined) return `${text}\n`;
  return `${text}\n\nNext\n${next.map((line) => `  ${line}`).join('\n')}\n`;
}

const asJson = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

function errorBody({ code, message, advice, details }: CommandFailure) {
  return { error: { code, message, ...(advice && { advice }), ...(details && { details }) } };
}
