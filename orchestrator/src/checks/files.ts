/** Looks at what an orchestrator needs of its machine: folders, the catalog, the Engine's program. */
import { constants } from 'node:fs';
import { access, readdir, readFile, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Finding } from './finding.ts';

/** Node.js major that runs TypeScript as it stands; engines run under the orchestrator's own. */
const NODE_MAJOR = 24;
/** Below this the next engines' brains and logs have no room; bytes. */
const LOW_SPACE_BYTES = 2 ** 30;

/** The folder engines live in: writable, or to be made; with room. */
export async function checkDataFolder(data_dir: string): Promise<Finding> {
  const check = 'data folder';
  const problem = await whyNot(data_dir, constants.R_OK | constants.W_OK | constants.X_OK);
  if (problem === 'ENOENT') return await checkCanBeMade(data_dir);
  if (problem !== null) {
    const advice = 'Make it writable for this user, or name another with ORCH_DATA_DIR.';
    return { check, verdict: 'problem', found: `${data_dir} cannot be written to (${problem}).`, advice };
  }
  const { bavail, bsize } = await statfs(data_dir);
  const free = bavail * bsize;
  const found = `${data_dir} is writable, ${Math.floor(free / 2 ** 20)} MB are free.`;
  if (free >= LOW_SPACE_BYTES) return { check, verdict: 'ok', found };
  return { check, verdict: 'warning', found, advice: 'Free some space: every engine keeps its brain there.' };
}

async function checkCanBeMade(data_dir: string): Promise<Finding> {
  const check = 'data folder';
  let parent = dirname(data_dir);
  while ((await whyNot(parent, constants.F_OK)) === 'ENOENT' && parent !== dirname(parent))
    parent = dirname(parent);
  const problem = await whyNot(parent, constants.W_OK | constants.X_OK);
  if (problem === null)
    return { check, verdict: 'ok', found: `${data_dir} will be made by the first start.` };
  return {
    check,
    verdict: 'problem',
    found: `${data_dir} is not there and cannot be made (${problem} at ${parent}).`,
    advice: 'Make it, writable for this user, or name another with ORCH_DATA_DIR.',
  };
}

/** What engines read: agents and the soul they begin with. */
export async function checkCatalog(catalog_dir: string): Promise<Finding> {
  const check = 'catalog';
  const advice = 'Name the catalog with ORCH_CATALOG_MOUNT_PATH: a folder with agents/ and core_soul.json.';
  try {
    const agents = await readdir(join(catalog_dir, 'agents'));
    JSON.parse(await readFile(join(catalog_dir, 'core_soul.json'), 'utf8'));
    if (agents.length > 0) {
      return { check, verdict: 'ok', found: `${catalog_dir} can be read, ${agents.length} agents.` };
    }
    return { check, verdict: 'problem', found: `${catalog_dir} has no agent.`, advice };
  } catch (error) {
    const why = error instanceof SyntaxError ? 'core_soul.json is not JSON' : codeOf(error);
    return { check, verdict: 'problem', found: `${catalog_dir} cannot be read (${why}).`, advice };
  }
}

/** The program of the engines, and the Node.js it runs under. */
export async function checkEngineProgram(entry: string): Promise<Finding> {
  const check = 'node';
  if (Number.parseInt(process.versions.node, 10) < NODE_MAJOR) {
    const advice = `Start it with Node.js ${NODE_MAJOR}: \`npm run bap-engine\` and scripts/run.mjs do.`;
    return { check, verdict: 'problem', found: `This is Node.js ${process.version}.`, advice };
  }
  const problem = await whyNot(entry, constants.R_OK);
  if (problem === null) {
    return { check, verdict: 'ok', found: `Node.js ${process.version} runs the Engine's program.` };
  }
  const advice = 'Install the whole repository: engine/ belongs beside orchestrator/.';
  return { check, verdict: 'problem', found: `The Engine's program cannot be read (${problem}).`, advice };
}

/** The system's code for why `path` cannot be used so; null when it can. */
async function whyNot(path: string, mode: number): Promise<string | null> {
  return await access(path, mode).then(() => null, codeOf);
}

const codeOf = (error: unknown) =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
