/** Every platform tool there is, whichever an Engine of this configuration or that would have. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Roots } from '../../src/sandbox/roots.ts';
import type { Tool } from '../../src/tools/contract.ts';
import { platformTools } from '../../src/tools/platform.ts';
import { brainOf } from './brain.ts';

const SOURCES = fileURLToPath(new URL('../../src/tools', import.meta.url));

/** Names as the sources define them, so that no tool can be forgotten. */
export const PLATFORM_TOOLS = readdirSync(SOURCES)
  .map((file) => readFileSync(`${SOURCES}/${file}`, 'utf8'))
  .flatMap((source) =>
    [...source.matchAll(/defineTool\(\{\s*name: '(\w+)'/g)].map(([, name]) => String(name)),
  )
  .sort();

export async function allPlatformTools(roots: Roots): Promise<Tool[]> {
  return platformTools(roots, (await brainOf()).ingestion);
}
