/**
 * An operator's programs at fixed places of a turn: before a tool, after it, and when the model has stopped. Each is
 * told what happens, as JSON on its stdin. Exit 0: go on. Exit 2: blocked, and stderr is told to the model. Anything
 * else is a fault of the hook: logged, and the turn goes on without it.
 *
 * What a hook has said is stored with the step it belongs to, not by itself: after a kill in between it is asked
 * again. Source: engine-runtime, "Secret scanner and hooks".
 */
import type { Hook, HookSettings } from '../catalog/hooks.ts';
import type { Log } from '../observe/log.ts';
import type { Ended } from '../sandbox/command.ts';
import type { SandboxCommand } from '../sandbox/sandbox.ts';
import { safeText } from './text.ts';

export type Hooks = {
  /** @returns why the call must not run; undefined when it may. */
  beforeTool(call: HookedCall, signal: AbortSignal): Promise<string | undefined>;
  /** @returns what the model is to be told beside the result. */
  afterTool(
    call: HookedCall & { output: unknown; error?: string },
    signal: AbortSignal,
  ): Promise<string | undefined>;
  /** Whether `atStop` asks anybody. */
  watches_stop: boolean;
  /** @returns why the turn must not end yet. `refused`: it was told so before, and is told so once only. */
  atStop(answer: HookedAnswer, signal: AbortSignal): Promise<string | undefined>;
};

type Place = { task_id: string; turn_id: string };
export type HookedCall = Place & { tool_call_id: string; tool: string; input: unknown };
export type HookedAnswer = Place & { text: string; refused: boolean };

const BLOCKS = 2;

/** Of what a hook says to the model, characters. */
const MAX_SAID = 8_000;

export type HookParts = {
  settings: HookSettings;
  /** `PRE_TOOL_HOOKS_ENABLED`, `POST_TOOL_HOOKS_ENABLED`, `STOP_HOOKS_ENABLED`. */
  enabled: Record<keyof HookSettings, boolean>;
  /** In the sandbox; the catalog is visible there. */
  run: (command: SandboxCommand, signal: AbortSignal) => Promise<Ended>;
  /** The catalog's folder, so that a command can name what lies beside `hooks.json`. */
  cwd: string;
  log: Log;
};

export function createHooks({ settings, enabled, run, cwd, log }: HookParts): Hooks {
  const { pre_tool, post_tool, stop }: HookSettings = {
    pre_tool: enabled.pre_tool ? settings.pre_tool : [],
    post_tool: enabled.post_tool ? settings.post_tool : [],
    stop: enabled.stop ? settings.stop : [],
  };

  /** One after the other. @returns what those that block have said; all are asked, unless `first` is enough. */
  async function ask(
    hooks: Hook[],
    event: Place & { event: keyof HookSettings },
    signal: AbortSignal,
    first = false,
  ): Promise<string | undefined> {
    const said: string[] = [];
    for (const { command, timeout_s } of hooks) {
      const stdin = JSON.stringify(event);
      const asked = { words: command, cwd, stdin, timeout_ms: timeout_s * 1000 };
      const { exit_code, stderr, failure, signal: ended_by } = await run(asked, signal);
      const words = safeText(stderr).trim().slice(0, MAX_SAID);
      if (exit_code === BLOCKS) {
        said.push(words === '' ? 'not allowed; the hook gives no reason.' : words);
        if (first) break;
      } else if (exit_code !== 0) {
        const problem = failure?.message ?? (ended_by && `ended by ${ended_by}`);
        log.warn('A hook failed and is ignored', {
          task_id: event.task_id,
          extra: { event: event.event, command: command[0], exit_code, problem, stderr: words },
        });
      }
    }
    return said.length === 0 ? undefined : said.join('\n');
  }

  return {
    beforeTool: (call, signal) => ask(matching(pre_tool, call), { event: 'pre_tool', ...call }, signal, true),
    afterTool: (call, signal) => ask(matching(post_tool, call), { event: 'post_tool', ...call }, signal),
    watches_stop: stop.length > 0,
    async atStop(answer, signal) {
      const said = await ask(stop, { event: 'stop', ...answer }, signal);
      return answer.refused ? undefined : said;
    },
  };
}

const matching = <Of extends { match: string }>(hooks: Of[], { tool }: HookedCall): Of[] =>
  hooks.filter(({ match }) => match === '*' || match === tool);
