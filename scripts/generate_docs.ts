/** Writes the parts of the documentation that are made from code: `node scripts/generate_docs.ts`. */
import { readFile, writeFile } from 'node:fs/promises';
import { withGenerated } from '../orchestrator/src/lifecycle/document.ts';

const LIFECYCLE = new URL('../docs/lifecycle.md', import.meta.url);

await writeFile(LIFECYCLE, withGenerated(await readFile(LIFECYCLE, 'utf8')));
