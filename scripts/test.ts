/**
 * `npm test`: type check, lint, layers, then every test; closes with the line `N passed, N failed, N skipped`.
 * Each of the three checks counts as one. Arguments are handed on to vitest (`npm test -- engine`), and then
 * only the tests run. What needs Docker is `npm run test:docker`.
 */
import { type Count, check, close, tests } from './counted.ts';

const filters = process.argv.slice(2);
const counts: Count[] = [];
if (filters.length === 0) {
  counts.push(await check('type check', 'tsc', ['--noEmit']));
  counts.push(await check('lint and format', 'biome', ['check', '.']));
  counts.push(await check('layers', 'npm', ['run', '--silent', 'layers']));
}
counts.push(await tests(filters));
close(counts);
