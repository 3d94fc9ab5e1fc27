/**
 * Runs calls of tools in a process of its own and tells the most memory that took: `node measured.ts <root> <calls>`,
 * one line of JSON. What it starts is not counted.
 */
import { join } from 'node:path';
import { openRoots } from '../../src/sandbox/roots.ts';
import { allPlatformTools } from './platform.ts';
import { toolContext } from './tool_context.ts';

const [root = '', given = '{}'] = process.argv.slice(2);
const roots = openRoots({ paths: [root], own: false }, join(root, '..'));
const tools = new Map(allPlatformTools(roots).map((tool) => [tool.definition.name, tool]));
const calls: Record<string, [tool: string, input: unknown]> = JSON.parse(given);
const outcomes: Record<string, unknown> = {};
for (const [name, [tool, input]] of Object.entries(calls)) {
  outcomes[name] = await tools.get(tool)?.run(input, toolContext());
}
console.log(JSON.stringify({ outcomes, peak_bytes: process.resourceUsage().maxRSS * 1024 }));
