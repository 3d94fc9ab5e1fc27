/** What a tool is given when a test calls it by itself. */
import type { ToolContext } from '../../src/tools/contract.ts';

export function toolContext(given: Partial<ToolContext> = {}): ToolContext {
  return {
    task_id: 'task',
    turn_id: 'turn',
    signal: new AbortController().signal,
    key: 'key',
    opened: { paths: [], hosts: [] },
    runAgent: () => Promise.reject(new Error('no agents here')),
    remember: () => ({ output: 'ok' }),
    ...given,
  };
}
