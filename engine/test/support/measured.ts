/**
 * Runs calls of tools in a process of its own and tells the most memory that took: `node measured.ts <folder> <calls>`,
 * one line of JSON. What it starts is not counted. The folder holds `workspace/` and a brain, as an Engine's does.
 */
import { join } from 'node:path';
import { openRoots } from '../../src/sandbox/roots.ts';
import { allPlatformTools } from './platform.ts';
import { toolContext } from './tool_context.ts';

const [folder = '', given = '{}'] = process.argv.slice(2);
const own = { paths: [join(folder, 'workspace')], own: false };
const roots = openRoots(own, join(folder, 'brain.sqlite'));
const tools = new Map(allPlatformTools(roots).map((tool) => [tool.definition.name, tool]));
const calls: Record<string, [tool: string, input: unknown]> = JSON.parse(given);
const outcomes: Record<string, unknown> = {};
for (const [name, [tool, input]] of Object.entries(calls)) {
  outcomes[name] = await tools.get(tool)?.run(input, toolContext());
}
console.log(JSON.stringify({ outcomes, peak_bytes: process.resourceUsage().maxRSS * 1024 }));
