import type { Ingestion } from '../brain/ingestion.ts';
import type { Roots } from '../sandbox/roots.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { askUserTool } from './ask_user.ts';
import { bashTool } from './bash.ts';
import type { Tool } from './contract.ts';
import { editFileTool } from './edit_file.ts';
import { fileSearchTool } from './file_search.ts';
import { findTool } from './find.ts';
import { grepTool } from './grep.ts';
import { ingestionReadTool } from './ingestion_read.ts';
import { listFilesTool } from './list_files.ts';
import { readFileTool } from './read_file.ts';
import { runAgentTool } from './run_agent.ts';
import { type WebFetchParts, webFetchTool } from './web_fetch.ts';
import { type SearchSettings, webSearchTool } from './web_search.ts';
import { workingMemoryWriteTool } from './working_memory_write.ts';
import { writeFileTool } from './write_file.ts';
import { createFileQueue } from './writing.ts';

/**
 * The tools every Engine has; which of them an agent sees is its `tools` list. `ingestion`: where large documents are
 * kept, undefined where they are not. `web`: the way out, and who is asked there.
 */
export function platformTools(
  roots: Roots,
  sandbox: Sandbox,
  ingestion: Ingestion | undefined,
  web: WebFetchParts & { search: SearchSettings },
): Tool[] {
  const inTurn = createFileQueue();
  return [
    ...(ingestion === undefined ? [] : [ingestionReadTool(ingestion)]),
    askUserTool(),
    bashTool(sandbox, roots),
    editFileTool(roots, inTurn),
    fileSearchTool(roots),
    findTool(roots),
    grepTool(roots),
    listFilesTool(roots),
    readFileTool(roots),
    runAgentTool(),
    webFetchTool(web),
    webSearchTool(web.search),
    workingMemoryWriteTool(),
    writeFileTool(roots, inTurn),
  ];
}
