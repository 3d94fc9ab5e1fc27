import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from './engine.ts';

const STOCK = fileURLToPath(new URL('../../../catalog', import.meta.url));

/**
 * A catalog beside the stock one: its models and soul, and these agents, each with its tools and, maybe, model. `tools`:
 * definitions by the names of their files.
 */
export function catalogOf(
  agents: Record<string, string[]>,
  models: Record<string, string> = {},
  tools: Record<string, unknown> = {},
): { CATALOG_DIR: string } {
  const folder = temporaryFolder();
  for (const file of ['models.json', 'core_soul.json']) cpSync(join(STOCK, file), join(folder, file));
  for (const [name, tools] of Object.entries(agents)) {
    const place = join(folder, 'agents', name);
    mkdirSync(place, { recursive: true });
    const agent = {
      name,
      description: `The ${name}.`,
      model: models[name],
      tools,
      system_prompt_path: 'system-prompt.md',
    };
    writeFileSync(join(place, 'agent.json'), JSON.stringify(agent));
    writeFileSync(join(place, 'system-prompt.md'), `You are the ${name}.`);
  }
  mkdirSync(join(folder, 'tools'));
  for (const [name, tool] of Object.entries(tools)) {
    writeFileSync(join(folder, 'tools', `${name}.json`), JSON.stringify(tool));
  }
  return { CATALOG_DIR: folder };
}
