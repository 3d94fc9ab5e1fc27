/**
 * A shell command, in the sandbox. What it may do is decided elsewhere: by the walls, and by the permissions that look
 * at the command before it runs. Here is only what the model gives and gets. Source: engine-runtime, "Platform tools"; E20.
 */
import { constants } from 'node:os';
import { z } from 'zod';
import type { Ended, Failure } from '../sandbox/command.ts';
import type { Roots } from '../sandbox/roots.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import { defineTool, type FailureReason, type Tool, type ToolOutcome } from './contract.ts';

/** Seconds (E20). */
const TIMEOUT_S = 120;
const MAX_TIMEOUT_S = 600;

/** The runner gives up somewhat later than the command is killed, so that its output is told. */
const TIME_LIMIT_MS = (MAX_TIMEOUT_S + 30) * 1000;

/** One command; what is longer belongs into a file. */
const MAX_CHARACTERS = 100_000;

export function bashTool(sandbox: Pick<Sandbox, 'run'>, roots: Roots): Tool {
  return defineTool({
    name: 'bash',
    description: [
      'Runs a command in bash, in a sandbox, and answers with stdout, stderr and exit_code; one other than 0 is not an error of the tool.',
      `It starts in ${roots.paths[0]} each time: no variable and no folder is kept from one call to the next, but files are, also those in /tmp, which this task alone has and no other tool sees.`,
      'Nobody can type anything, so use flags such as -y. There is no network but to the hosts that the operator has allowed, by HTTP_PROXY and HTTPS_PROXY.',
      'Of long output the beginning and the end are kept; write it to a file and read that.',
      'What is started with & goes on until the end of this turn; redirect its output.',
      'Prefer the other tools for reading, finding and writing files.',
      'Example: {"command": "npm test"}',
    ].join(' '),
    effect: 'once',
    time_limit_ms: TIME_LIMIT_MS,
    input: z.object({
      command: z
        .string()
        .min(1)
        .max(MAX_CHARACTERS)
        .refine((command) => !command.includes('\0'), 'must not contain NUL')
        .describe('What bash is to run; several lines are fine.'),
      timeout_s: z
        .int()
        .min(1)
        .max(MAX_TIMEOUT_S)
        .default(TIMEOUT_S)
        .describe('Seconds after which the command is killed, with all it has started.'),
    }),
    acts: ({ command }) => (typeof command === 'string' ? [{ kind: 'shell', command }] : []),
    async run({ command, timeout_s }, { task_id, turn_id, opened, signal }) {
      const ended = await sandbox.run(
        { words: ['bash', '-c', command], cwd: roots.paths[0], stdin: '', timeout_ms: timeout_s * 1000 },
        { kind: 'task', task_id, turn_id, opened },
        signal,
      );
      return outcomeOf(ended);
    },
  });
}

const REASONS: Record<Failure['reason'], FailureReason> = {
  timeout: 'timeout',
  unavailable: 'sandbox_unavailable',
  unstarted: 'execution_failed',
  limit: 'execution_failed',
};

function outcomeOf({ exit_code, signal, stdout, stderr, failure }: Ended): ToolOutcome {
  if (failure === undefined) return { output: { stdout, stderr, exit_code: exit_code ?? codeOf(signal) } };
  const message = `${failure.message.charAt(0).toUpperCase()}${failure.message.slice(1)}.`;
  const said = stdout + stderr === '' ? {} : { stdout, stderr };
  return { error: REASONS[failure.reason], output: { message, ...said } };
}

/** As a shell tells it that a signal has ended a program. */
function codeOf(signal: string | undefined): number {
  const number = Object.entries(constants.signals).find(([name]) => name === signal)?.[1];
  return 128 + (number ?? 0);
}
