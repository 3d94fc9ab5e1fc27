import { join } from 'node:path';
import { z } from 'zod';
import { broken, listFolders, readJson, readText } from './files.ts';
import { type HookSettings, loadHooks, NO_HOOKS } from './hooks.ts';
import { ModelTable } from './models.ts';
import { loadPermissions, type PermissionRules } from './permissions.ts';
import { type CatalogTool, loadTools } from './tools.ts';

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
export type Catalog = {
  agents: ReadonlyMap<string, Agent>;
  soul: Soul;
  models: ModelTable;
  hooks: HookSettings;
  permissions: PermissionRules;
  tools: CatalogTool[];
};

/**
 * `tools`: names of the platform tools. `hooks`: `HOOKS_SETTINGS_LOAD_ENABLED`. `everyone`: tools that each agent has, whatever its list says.
 * @throws StartError `BAD_CONFIG` naming the file and what is wrong with it.
 */
export async function loadCatalog(
  dir: string,
  known: { tools: string[]; default_agent: string; hooks: boolean; everyone?: string[] },
): Promise<Catalog> {
  const tools = await loadTools(dir, known.tools);
  const names = [...known.tools, ...tools.map((tool) => tool.name)];
  const agents = new Map<string, Agent>();
  for (const name of listFolders(join(dir, 'agents'))) {
    const file = join(dir, 'agents', name, 'agent.json');
    const { system_prompt_path, ...agent } = readJson(file, AgentFile);
    if (agent.name !== name) throw broken(file, `name must be that of its folder, ${name}`);
    const unknown = agent.tools.filter((tool) => !names.includes(tool));
    if (unknown.length > 0) throw broken(file, `unknown tools: ${unknown.join(', ')}`);
    const system_prompt = readText(join(dir, 'agents', name, system_prompt_path)).trim();
    const has = [...new Set([...agent.tools, ...(known.everyone ?? [])])];
    agents.set(name, { ...agent, tools: has, system_prompt });
  }
  if (!agents.has(known.default_agent)) {
    throw broken(
      join(dir, 'agents'),
      `the default agent ${known.default_agent} (ENGINE_DEFAULT_AGENT) is not there`,
    );
  }
  return {
    agents,
    soul: readJson(join(dir, 'core_soul.json'), SoulFile),
    models: readJson(join(dir, 'models.json'), ModelTable),
    hooks: known.hooks ? loadHooks(dir) : NO_HOOKS,
    permissions: loadPermissions(dir),
    tools,
  };
}
