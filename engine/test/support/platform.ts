/** Every platform tool there is, with real parts: a sandbox where this machine has one, and a web that no name leads to. */
import { readdirSync, readFileSync } from 'node:fs';
import { BlockList } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Brain } from '../../src/brain/brain.ts';
import { createPageReader } from '../../src/media/page.ts';
import { createPdfReader } from '../../src/media/pdf.ts';
import { createGuard } from '../../src/net/guard.ts';
import { createLog } from '../../src/observe/log.ts';
import { findHost } from '../../src/sandbox/host.ts';
import { LIMITS } from '../../src/sandbox/limits.ts';
import type { Roots } from '../../src/sandbox/roots.ts';
import { createSandbox } from '../../src/sandbox/sandbox.ts';
import type { Tool } from '../../src/tools/contract.ts';
import { platformTools } from '../../src/tools/platform.ts';
import { NO_SECRETS } from './secrets.ts';

const SOURCES = fileURLToPath(new URL('../../src/tools', import.meta.url));

/** Names as the sources define them, so that no tool can be forgotten. */
export const PLATFORM_TOOLS = readdirSync(SOURCES)
  .map((file) => readFileSync(`${SOURCES}/${file}`, 'utf8'))
  .flatMap((source) =>
    [...source.matchAll(/defineTool\(\{\s*name: '(\w+)'/g)].map(([, name]) => String(name)),
  )
  .sort();

export function allPlatformTools(roots: Roots, brain?: Brain): Tool[] {
  const log = createLog('ERROR', NO_SECRETS.shown);
  const sandbox = createSandbox({
    mode: 'auto',
    roots,
    catalog_dir: fileURLToPath(new URL('../../../catalog', import.meta.url)),
    findHost: () => findHost(process.env.PATH ?? '', process.execPath),
    path: process.env.PATH ?? '',
    node: process.execPath,
    limits: LIMITS,
    egress: { open: async () => undefined },
    engine_port: 1,
    log,
    now: Date.now,
  });
  return platformTools(roots, sandbox, brain?.ingestion, {
    guard: createGuard({ names: new Set(), suffixes: [], addresses: new BlockList() }, async () => []),
    pages: createPageReader(),
    pdf: createPdfReader(),
    search: { brave: undefined, tavily: undefined },
  });
}
