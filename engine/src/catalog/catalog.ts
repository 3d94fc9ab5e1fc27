import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EngineExit } from '@september/contract';
import { z } from 'zod';
import { StartError, systemCode } from '../errors.ts';

/**
 * The catalog: what an Engine is, as data. Read-only, checked as a whole before anything uses it. Unknown
 * fields are refused: a misspelt one would otherwise be a setting that silently does nothing. Source:
 * engine-runtime, "Catalog".
 */
const AgentFile = z.strictObject({
  name: z.string().min(1),
  description: z.string(),
  /** Wins over LLM_MODEL (E18). */
  model: z.string().min(1).optional(),
  tools: z.array(z.string()),
  system_prompt_path: z.string().min(1),
});

const SoulFile = z.strictObject({
  version: z.int().positive(),
  identity: z.string().min(1),
  values: z.array(z.string()),
  patterns: z.array(z.string()),
});

export type Agent = Omit<z.infer<typeof AgentFile>, 'system_prompt_path'> & { system_prompt: string };
export type Soul = z.infer<typeof SoulFile>;
export type Catalog = { agents: ReadonlyMap<string, Agent>; soul: Soul };

/** @throws StartError `BAD_CONFIG` naming the file and what is wrong with it. */
export function loadCatalog(dir: string, known: { tools: string[]; default_agent: string }): Catalog {
  const agents = new Map<string, Agent>();
  for (const name of listFolders(join(dir, 'agents'))) {
    const file = join(dir, 'agents', name, 'agent.json');
    const { system_prompt_path, ...agent } = readJson(file, AgentFile);
    if (agent.name !== name) throw broken(file, `name must be that of its folder, ${name}`);
    const unknown = agent.tools.filter((tool) => !known.tools.includes(tool));
    if (unknown.length > 0) throw broken(file, `unknown tools: ${unknown.join(', ')}`);
    const system_prompt = readText(join(dir, 'agents', name, system_prompt_path)).trim();
    agents.set(name, { ...agent, system_prompt });
  }
  if (!agents.has(known.default_agent)) {
    throw broken(
      join(dir, 'agents'),
      `the default agent ${known.default_agent} (ENGINE_DEFAULT_AGENT) is not there`,
    );
  }
  return { agents, soul: readJson(join(dir, 'core_soul.json'), SoulFile) };
}

function listFolders(dir: string): string[] {
  try {
    const entries = readdirSync(dir, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    throw broken(dir, `cannot be read (${systemCode(error)})`, error);
  }
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw broken(file, `cannot be read (${systemCode(error)})`, error);
  }
}

function readJson<T>(file: string, schema: z.ZodType<T>): T {
  let json: unknown;
  try {
    json = JSON.parse(readText(file));
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw broken(file, 'is not valid JSON', error);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw broken(
    file,
    parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '),
  );
}

function broken(file: string, problem: string, cause?: unknown): StartError {
  return new StartError(EngineExit.BAD_CONFIG, `CATALOG_DIR: ${file}: ${problem}.`, { cause });
}
