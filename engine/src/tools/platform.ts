import type { Roots } from '../sandbox/roots.ts';
import type { Tool } from './contract.ts';
import { listFilesTool } from './list_files.ts';
import { readFileTool } from './read_file.ts';

/** The tools every Engine has; which of them an agent sees is its `tools` list. */
export function platformTools(roots: Roots): Tool[] {
  return [listFilesTool(roots), readFileTool(roots)];
}
