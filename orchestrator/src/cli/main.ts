/** `bap-engine`: the operators' command line. See run.ts. */
import { run } from './run.ts';

const { stdout, stderr } = process;
const terminal = (stream: NodeJS.WriteStream) => ({
  write: (text: string) => stream.write(text),
  columns: stream.isTTY ? stream.columns : undefined,
});
// A reader that has seen enough (`| head`) is no error.
stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

// Not process.exit: it would cut off what a pipe has not taken yet.
process.exitCode = await run({
  argv: process.argv.slice(2),
  env: process.env,
  cwd: process.cwd(),
  out: terminal(stdout),
  err: terminal(stderr),
});
