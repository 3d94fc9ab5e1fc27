/**
 * Runs tests and counts them, for scripts that close with the line `N passed, N failed, N skipped`. The line is what
 * others read, so nothing that went wrong may be missing in it: a file that could not be loaded counts, and so does a
 * run that failed without a failed test.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Count = { passed: number; failed: number; skipped: number };

/** What we read of vitest's JSON report. */
type Report = {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: { name: string; status: string; message: string; assertionResults: unknown[] }[];
};

const root = join(import.meta.dirname, '..');

/** One command as one test. */
export async function check(title: string, command: string, args: string[]): Promise<Count> {
  console.log(`\n── ${title}`);
  const ok = (await run(command, args)) === 0;
  console.log(ok ? `✓ ${title}` : `✗ ${title}`);
  return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 };
}

/** vitest with these arguments. */
export async function tests(args: string[]): Promise<Count> {
  console.log('\n── tests');
  const folder = await mkdtemp(join(tmpdir(), 'september-report-'));
  const file = join(folder, 'report.json');
  const code = await run('vitest', [
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${file}`,
    ...args,
  ]);
  const report = await readFile(file, 'utf8').then(
    (text) => JSON.parse(text) as Report,
    () => null,
  );
  await rm(folder, { recursive: true });
  if (report === null) return { passed: 0, failed: 1, skipped: 0 };
  // A file that could not even be loaded has no tests to count; it counts as one failure itself.
  const broken = report.testResults.filter((f) => f.status === 'failed' && f.assertionResults.length === 0);
  const failed = report.numFailedTests + broken.length;
  return {
    passed: report.numPassedTests,
    failed: code !== 0 && failed === 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** Prints the line and ends the process: 0 where nothing failed, else 1. */
export function close(counts: Count[]): never {
  const sum = (of: keyof Count) => counts.reduce((total, count) => total + count[of], 0);
  console.log(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
  process.exit(sum('failed') === 0 ? 0 : 1);
}

/** @returns the exit code; what it prints is seen. */
export function run(command: string, args: string[], cwd = root): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, stdio: 'inherit' });
    child.on('error', (error) => {
      console.error(error.message);
      resolve(1);
    });
    child.on('exit', (code) => resolve(code ?? 1));
  });
}
