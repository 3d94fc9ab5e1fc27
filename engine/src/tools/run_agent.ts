import { z } from 'zod';
import { defineTool, type Tool } from './contract.ts';

const MAX_MESSAGE = 100_000;

/** Hands a piece of work to another agent of the catalog (E19). Source: engine-runtime, "Many agents". */
export function runAgentTool(): Tool {
  return defineTool({
    name: 'run_agent',
    description:
      'Gives a self-contained piece of work to another agent and returns its final answer. It sees only your message, not this conversation; say everything it needs. Several calls in one answer run at the same time. Not for what you can do in a step or two yourself. Example: {"agent": "researcher", "message": "Find out since when … and give the sources."}',
    // Its thread is in the brain: run again it goes on where it stood.
    effect: 'idempotent',
    // What it does has limits of its own, those of the turn; and what it says must not come after the turn's end.
    time_limit_ms: null,
    input: z.object({
      agent: z.string().min(1).max(128).describe('Name of the agent.'),
      message: z.string().min(1).max(MAX_MESSAGE).describe('The work, complete in itself.'),
    }),
    run: ({ agent, message }, { runAgent }) => runAgent(agent, message),
  });
}
