/**
 * `npm test`: type check, lint, layers, then every test; closes with the line `N passed, N failed, N skipped`.
 * Each of the three checks counts as one. Arguments are handed on to vitest (`npm test -- engine`), and then
 * only the tests run.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

type Count = { passed: number; failed: number; skipped: number };

/** What we read of vitest's JSON report. */
type Report = {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  testResults: { name: string; status: string; message: string; assertionResults: unknown[] }[];
};

const root = join(import.meta.dirname, '..');
const filters = process.argv.slice(2);
const total: Count = { passed: 0, failed: 0, skipped: 0 };

if (filters.length === 0) {
  add(await check('type check', 'tsc', ['--noEmit']));
  add(await check('lint and format', 'biome', ['check', '.']));
  add(await check('layers', 'npm', ['run', '--silent', 'layers']));
}
add(await tests());

console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 ? 0 : 1);

async function check(title: string, command: string, args: string[]): Promise<Count> {
  console.log(`\n── ${title}`);
  const ok = (await run(command, args)) === 0;
  console.log(ok ? `✓ ${title}` : `✗ ${title}`);
  return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 };
}

async function tests(): Promise<Count> {
  console.log('\n── tests');
  const folder = await mkdtemp(join(tmpdir(), 'september-report-'));
  const file = join(folder, 'report.json');
  const code = await run('vitest', [
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${file}`,
    ...filters,
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

function run(command: string, args: string[]): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit' });
    child.on('error', (error) => {
      console.error(error.message);
      resolve(1);
    });
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

function add(count: Count) {
  total.passed += count.passed;
  total.failed += count.failed;
  total.skipped += count.skipped;
}
