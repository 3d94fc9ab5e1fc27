/**
 * `hooks.json` of the catalog: an operator's own programs at fixed places of a turn. Checked like the rest of the
 * catalog, as a whole and before anything uses it: a hook that is not run because of a misspelt field would be a gate
 * that stands open. Source: engine-runtime, "Secret scanner and hooks".
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { readJson } from './files.ts';

/** The call waits for its hooks, so they answer quickly or not at all, seconds. */
const DEFAULT_TIMEOUT_S = 10;
const MAX_TIMEOUT_S = 300;

/** Hooks for one place, and words of one command: far more than anybody writes by hand. */
const MAX_HOOKS = 50;
const MAX_WORDS = 100;

const Hook = z.strictObject({
  /** Program and arguments; no shell reads them. Runs in the catalog's folder. */
  command: z
    .array(z.string().refine((word) => !word.includes('\0'), 'must not contain NUL'))
    .min(1)
    .max(MAX_WORDS),
  timeout_s: z.number().positive().max(MAX_TIMEOUT_S).default(DEFAULT_TIMEOUT_S),
});

const ToolHook = Hook.extend({
  /** Name of the tool; `*` for all. */
  match: z.string().min(1).default('*'),
});

export const HookSettings = z.strictObject({
  pre_tool: z.array(ToolHook).max(MAX_HOOKS).default([]),
  post_tool: z.array(ToolHook).max(MAX_HOOKS).default([]),
  stop: z.array(Hook).max(MAX_HOOKS).default([]),
});

export type Hook = z.infer<typeof Hook>;
export type HookSettings = z.infer<typeof HookSettings>;

export const NO_HOOKS: HookSettings = { pre_tool: [], post_tool: [], stop: [] };

/** @throws StartError `BAD_CONFIG` naming the field; a catalog without the file has no hooks. */
export function loadHooks(dir: string): HookSettings {
  const file = join(dir, 'hooks.json');
  return existsSync(file) ? readJson(file, HookSettings) : NO_HOOKS;
}
