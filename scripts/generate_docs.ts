/** Writes the parts of the documentation that are made from code: `npm run docs`. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { withGenerated } from '../orchestrator/src/lifecycle/document.ts';
import { referencePages } from './reference/pages.ts';

const DOCS = new URL('../docs/', import.meta.url);
const LIFECYCLE = new URL('lifecycle.md', DOCS);

await writeFile(LIFECYCLE, withGenerated(await readFile(LIFECYCLE, 'utf8')));
await mkdir(new URL('reference/', DOCS), { recursive: true });
for (const [file, text] of Object.entries(referencePages())) {
  await writeFile(new URL(`reference/${file}`, DOCS), text);
}
