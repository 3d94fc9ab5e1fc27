import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseEnv } from 'node:util';
import { EngineExit, KeyHash } from '@september/contract';
import { z } from 'zod';
import { StartError } from './errors.ts';
import { type HostList, parseHosts } from './net/hosts.ts';
import { LOG_LEVELS, type LogLevel } from './observe/log.ts';
import { exposedFiles, readSecretFiles } from './secret_files.ts';
import type { SearchSettings } from './tools/web_search.ts';
import type { ProviderName } from './types.ts';

/**
 * The Engine's whole configuration: environment variables, read once, here (E1, E28).
 *
 * A configuration that is half right is worse than none: an Engine that guesses a provider or ignores a typo
 * fails at the first message of a user, far from who set it. So every value is checked before anything
 * starts, all problems are told at once, and each names its variable and what to do. Source: operations,
 * "Environment variables".
 */

const integer = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,12}$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be a whole number from ${min} to ${max}`);

/** The words true and false, in any case, and nothing else: `0` read as true would be worse than a refusal (E1). */
const flag = (preset: boolean) =>
  z
    .string()
    .toLowerCase()
    .pipe(z.enum(['true', 'false'], 'must be true or false'))
    .prefault(String(preset))
    .transform((word) => word === 'true');

/** Without the slash that people put at its end. */
const baseUrl = (preset: string) =>
  z
    .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
    .prefault(preset)
    .transform((url) => url.replace(/\/+$/, ''));

const hostList = () =>
  z
    .string()
    .prefault('')
    .transform((text, context) => {
      const hosts = parseHosts(text);
      if (!('bad' in hosts)) return hosts;
      context.addIssue(
        `${JSON.stringify(hosts.bad)} is no host, *.host, address or range such as 10.0.0.0/8`,
      );
      return z.NEVER;
    });

const DAY_S = 86_400;

/** Every variable this Engine reads, with its default and its meaning: what the reference page prints. */
export const Variables = z.object({
  ENGINE_KEY_HASH: KeyHash.optional().describe(
    'SHA-256 (hex) of the API key; production. A value other than at the previous boot is a rotation with overlap (E12). One of the two is required.',
  ),
  ENGINE_API_KEY: z.string().optional().describe('Plaintext API key, hashed by the Engine; development.'),
  BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS: integer(0, DAY_S)
    .prefault('0')
    .describe('How long the old key still works after a rotation.'),
  BAP_KEY_ROTATION_MAX_OVERLAP_SECONDS: integer(0, DAY_S)
    .prefault('300')
    .describe('When the old hash is purged; until then the old key is answered KEY_ROTATION_PENDING.'),

  LLM_PROVIDER: z
    .enum(['anthropic', 'openai', 'gemini', 'demo'])
    .optional()
    .describe('Model provider. Default openai; demo when no provider key is set, outside production only.'),
  LLM_API_KEY: z.string().optional().describe('Key of LLM_PROVIDER; not needed with LLM_BASE_URL.'),
  LLM_MODEL: z
    .string()
    .optional()
    .describe('Model id. Default by provider: gpt-4o, claude-sonnet-4-5, gemini-2.5-pro.'),
  LLM_BASE_URL: z
    .url({ protocol: /^https?$/, error: 'must be an http or https URL' })
    .optional()
    .describe('Any compatible server instead of the provider’s own (Ollama, vLLM, a gateway).'),
  LLM_OPENAI_API: z
    .enum(['responses', 'chat'])
    .optional()
    .describe(
      'Which OpenAI API to speak. Default: responses; chat with LLM_BASE_URL, as compatible servers speak that.',
    ),
  ANTHROPIC_API_KEY: z
    .string()
    .optional()
    .describe('Key for Claude models; also LLM_PROVIDER=anthropic’s where LLM_API_KEY is empty.'),
  OPENAI_API_KEY: z
    .string()
    .optional()
    .describe('Key for OpenAI models; also LLM_PROVIDER=openai’s where LLM_API_KEY is empty.'),
  GEMINI_API_KEY: z
    .string()
    .optional()
    .describe('Key for Gemini models; also LLM_PROVIDER=gemini’s where LLM_API_KEY is empty.'),
  FALLBACK_MODEL: z.string().optional().describe('Model that is asked once when another has failed.'),
  PLANNER_MODEL: z
    .string()
    .optional()
    .describe(
      'Model that may lay out a plan before a turn begins, unless the request says `direct`. Absent: no planning.',
    ),
  LIGHT_MODEL: z.string().optional().describe('Model for compaction and summaries. Default: LLM_MODEL.'),
  MAX_TOKENS: integer(1, 1_000_000).prefault('4096').describe('Output limit per model call, tokens.'),

  MEDIA_PRESEND_VALIDATION_ENABLED: flag(false).describe(
    'Flag: check size and content of media before they are sent; what fails is 400.',
  ),
  MEDIA_IMAGE_RESIZE_ENABLED: flag(false).describe('Flag: make oversized images smaller.'),
  MEDIA_ERROR_RECOVERY_ENABLED: flag(false).describe(
    'Flag: where a provider refuses a call because of media, leave them out and try again.',
  ),

  CONTENT_INGESTION_ENABLED: flag(false).describe(
    'Flag: the text of large documents is kept outside of the conversation and read with the tool ingestion_read.',
  ),

  BRAVE_API_KEY: z.string().optional().describe('Key of Brave Search, for web_search.'),
  TAVILY_API_KEY: z
    .string()
    .optional()
    .describe('Key of Tavily, for web_search where Brave fails or has no key.'),
  BRAVE_BASE_URL: baseUrl('https://api.search.brave.com').describe('Brave Search, or what stands before it.'),
  TAVILY_BASE_URL: baseUrl('https://api.tavily.com').describe('Tavily, or what stands before it.'),

  SQLITE_DB_PATH: z
    .string()
    .prefault('/data/brain.sqlite')
    .describe('The brain; its folder is the Engine’s own.'),
  CATALOG_DIR: z
    .string()
    .optional()
    .describe(
      'Agents, tools, permissions.json, hooks.json, models.json and core_soul.json. Default: the repository’s catalog/.',
    ),
  MIGRATIONS_DIR: z.string().optional().describe('Migration files of the brain. Default: the ones shipped.'),

  ENGINE_DEFAULT_AGENT: z.string().prefault('assistant').describe('Agent when /execute names none.'),
  AGENT_MAX_ITERATIONS: integer(1, 10_000).prefault('50').describe('Guard: model calls per turn (E16).'),
  TURN_TIMEOUT_S: integer(1, 7 * DAY_S)
    .prefault('1800')
    .describe('Guard: seconds per turn (E16).'),
  TURN_MAX_TOKENS: integer(1, 1_000_000_000)
    .optional()
    .describe(
      'Guard: tokens per turn, input and output of all its model calls; a call that could exceed it is not made (E16).',
    ),
  TURN_MAX_COST_USD: z
    .string()
    .regex(/^\d{1,6}(\.\d{1,6})?$/, 'must be an amount such as 0.50')
    .transform(Number)
    .optional()
    .describe(
      'Guard: dollars per turn by the prices of the catalog; a call that could exceed it is not made, nor one whose price is not known.',
    ),
  TOKEN_BUDGET_ENABLED: flag(false).describe(
    'Flag: an answer that is cut at MAX_TOKENS goes on by itself, as often as the guards allow. Removes the natural ceiling of a turn’s cost; use it with TURN_MAX_TOKENS or TURN_MAX_COST_USD.',
  ),
  REACTIVE_COMPACT_ENABLED: flag(true).describe(
    'Condense older messages when a conversation outgrows the model’s context. Off: CONTEXT_OVERFLOW. Leave on.',
  ),
  CACHE_HIT_MONITOR_ENABLED: flag(true).describe(
    'Flag: an alert when little of what is sent is found in the provider’s cache.',
  ),
  HOOKS_SETTINGS_LOAD_ENABLED: flag(true).describe('Flag: load hooks.json of the catalog.'),
  PRE_TOOL_HOOKS_ENABLED: flag(true).describe('Flag: run the hooks before a tool; one may block the call.'),
  POST_TOOL_HOOKS_ENABLED: flag(true).describe(
    'Flag: run the hooks after a tool; one may say something beside the result.',
  ),
  STOP_HOOKS_ENABLED: flag(true).describe(
    'Flag: run the hooks at the end of a turn; one may refuse it, once.',
  ),
  CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY: integer(1, 100)
    .prefault('10')
    .describe('Tools at once inside one turn.'),
  CHANNEL_STATE_TTL_ACTIVE: integer(1, 365 * DAY_S)
    .prefault('10800')
    .describe('How long a turn’s events can be replayed after its end, seconds.'),
  CHANNEL_STATE_TTL_HITL: integer(1, 365 * DAY_S)
    .prefault('259200')
    .describe('How long a person has to answer before the turn ends, seconds (E8).'),
  ALLOWED_ROOTS: z
    .string()
    .optional()
    .describe('Comma-separated absolute paths tools may see. Default: workspace/ beside the brain.'),
  SANDBOX_MODE: z
    .enum(['auto', 'none'])
    .prefault('auto')
    .describe(
      'none: commands run without a sandbox, outside production only. auto: where there is none, `bash` refuses (E21).',
    ),
  SCRUB_TOOL_RESULTS_ENABLED: flag(false).describe(
    'Flag: what looks like a secret is taken out of the results of tools before the model sees them. The Engine’s own keys always are.',
  ),
  SANDBOX_ALLOWED_HOSTS: hostList().describe(
    'Comma-separated hosts (`github.com`, `*.github.com`), addresses and ranges that commands in the sandbox may reach, through a proxy. Default: none, and no network at all.',
  ),
  ALLOWED_PRIVATE_HOSTS: hostList().describe(
    'Comma-separated hosts (`wiki.corp`, `*.corp`), addresses and ranges that web_fetch, and commands where SANDBOX_ALLOWED_HOSTS names them too, may reach although they are not on the public internet. Default: none.',
  ),

  ENGINE_HOST: z.string().prefault('127.0.0.1').describe('Listen address; 0.0.0.0 in the image.'),
  ENGINE_PORT: integer(0, 65_535).prefault('8000').describe('Listen port; 0 takes any free one.'),
  ENGINE_LOG_LEVEL: z
    .string()
    .prefault('INFO')
    .transform((level) => level.toUpperCase())
    .pipe(z.enum(LOG_LEVELS))
    .describe('DEBUG, INFO, WARNING or ERROR.'),
  ENGINE_EPOCH: integer(1, 999_999_999_999)
    .optional()
    .describe('Number of this start, given by the orchestrator; fences the brain (O22). Absent: no fence.'),
  NODE_ENV: z.string().optional().describe('production switches the strict rules on.'),
});

type Values = z.infer<typeof Variables>;

export type Config = {
  key: { hash: string; min_overlap_s: number; max_overlap_s: number };
  model: {
    provider: ProviderName;
    model: string;
    fallback_model?: string;
    /** Undefined: turns are not planned. */
    planner_model: string | undefined;
    light_model: string;
    api_keys: Partial<Record<ProviderName, string>>;
    base_url?: string;
    openai_api?: 'responses' | 'chat';
    max_tokens: number;
  };
  media: { validate: boolean; resize: boolean; recover: boolean; ingest: boolean };
  search: SearchSettings;
  brain_path: string;
  catalog_dir: string;
  migrations_dir: string;
  /** Absolute. `own` is the folder the Engine makes for itself; roots an operator named must exist. */
  roots: { paths: string[]; own: boolean };
  /** What may be fetched although it is not public. */
  allowed_private_hosts: HostList;
  default_agent: string;
  max_iterations: number;
  turn_timeout_s: number;
  /** Undefined: no limit. */
  turn_max_tokens: number | undefined;
  turn_max_cost_usd: number | undefined;
  continue_cut_answers: boolean;
  hooks: { load: boolean; pre_tool: boolean; post_tool: boolean; stop: boolean };
  sandbox_mode: 'auto' | 'none';
  sandbox_allowed_hosts: HostList;
  /** Where the Engine finds programs. */
  path: string;
  cache_monitor: boolean;
  /** Whether conversations are condensed. */
  compact: boolean;
  tool_concurrency: number;
  replay_ttl_s: number;
  hitl_ttl_s: number;
  host: string;
  port: number;
  log_level: LogLevel;
  /** Values that nothing shown may contain. */
  secrets: string[];
  /** Whether what looks like a secret is kept from the model too. */
  scrub_tool_results: boolean;
  epoch: number | undefined;
  /** What is allowed but worth a line in the log at start. */
  warnings: string[];
};

const KEY_VARIABLES = {
  anthropic: 'ANTHROPIC_API_KEY',
  openai: 'OPENAI_API_KEY',
  gemini: 'GEMINI_API_KEY',
} as const;

const DEFAULT_MODELS = {
  anthropic: 'claude-sonnet-4-5',
  openai: 'gpt-4o',
  gemini: 'gemini-2.5-pro',
} as const;

/**
 * Reads the process environment, and in development `.env` in the working folder, which it wins over.
 * @throws StartError `BAD_CONFIG`, all problems in its message.
 */
export function loadConfig(): Config {
  const file = join(process.cwd(), '.env');
  const fromFile =
    process.env.NODE_ENV !== 'production' && existsSync(file) ? parseEnv(readFileSync(file, 'utf8')) : {};
  return parseConfig({ ...fromFile, ...process.env }, process.cwd());
}

/** @throws StartError `BAD_CONFIG`, all problems in its message. */
export function parseConfig(environment: Record<string, string | undefined>, cwd: string): Config {
  // Compose files and Kubernetes manifests hand over unset variables as empty strings.
  const set: Record<string, string> = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value !== undefined && value !== '') set[name] = value;
  }
  const { given, problems: unread } = readSecretFiles(set, cwd);
  // Whether anything else is missing cannot be told without them.
  if (unread.length > 0) throw unusable(unread);
  const parsed = Variables.safeParse(given);
  const problems = parsed.success
    ? []
    : parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  problems.push(...keyProblems(given));
  if (parsed.success) problems.push(...rangeProblems(parsed.data));

  const roots = given.ALLOWED_ROOTS?.split(',').map((path) => path.trim());
  if (roots?.some((path) => !isAbsolute(path))) {
    problems.push('ALLOWED_ROOTS: must be absolute paths, separated by commas');
  }
  if (parsed.success && parsed.data.SANDBOX_MODE === 'none' && parsed.data.NODE_ENV === 'production') {
    problems.push(
      'SANDBOX_MODE: none is for development only; in production commands run in a sandbox or not at all',
    );
  }
  if (parsed.success) {
    problems.push(...exposedFiles(set, cwd, roots ?? [ownRoot(resolve(cwd, parsed.data.SQLITE_DB_PATH))]));
  }
  const model = parsed.success ? chooseModel(parsed.data) : undefined;
  if (model !== undefined && 'problem' in model) problems.push(model.problem);

  if (!parsed.success || model === undefined || 'problem' in model || problems.length > 0) {
    throw unusable(problems);
  }
  const values = parsed.data;
  const brain_path = resolve(cwd, values.SQLITE_DB_PATH);
  const warnings = [...model.warnings];
  if (values.SANDBOX_MODE === 'none') {
    warnings.push('SANDBOX_MODE=none: commands of the model run on this machine without any walls.');
  }
  if (values.ENGINE_KEY_HASH !== undefined && values.ENGINE_API_KEY !== undefined) {
    warnings.push(
      'ENGINE_KEY_HASH and ENGINE_API_KEY are both set: ENGINE_KEY_HASH counts. Unset the other.',
    );
  }
  return {
    key: {
      hash: values.ENGINE_KEY_HASH ?? sha256(values.ENGINE_API_KEY ?? ''),
      min_overlap_s: values.BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS,
      max_overlap_s: values.BAP_KEY_ROTATION_MAX_OVERLAP_SECONDS,
    },
    model: {
      ...model.choice,
      fallback_model: values.FALLBACK_MODEL,
      planner_model: values.PLANNER_MODEL,
      light_model: values.LIGHT_MODEL ?? model.choice.model,
      max_tokens: values.MAX_TOKENS,
    },
    media: {
      validate: values.MEDIA_PRESEND_VALIDATION_ENABLED,
      resize: values.MEDIA_IMAGE_RESIZE_ENABLED,
      recover: values.MEDIA_ERROR_RECOVERY_ENABLED,
      ingest: values.CONTENT_INGESTION_ENABLED,
    },
    search: {
      brave: searcher(values.BRAVE_API_KEY, values.BRAVE_BASE_URL),
      tavily: searcher(values.TAVILY_API_KEY, values.TAVILY_BASE_URL),
    },
    brain_path,
    catalog_dir: resolve(cwd, values.CATALOG_DIR ?? fileURLToPath(new URL('../../catalog', import.meta.url))),
    migrations_dir: resolve(
      cwd,
      values.MIGRATIONS_DIR ?? fileURLToPath(new URL('./brain/migrations', import.meta.url)),
    ),
    roots: { paths: roots ?? [ownRoot(brain_path)], own: roots === undefined },
    allowed_private_hosts: values.ALLOWED_PRIVATE_HOSTS,
    default_agent: values.ENGINE_DEFAULT_AGENT,
    max_iterations: values.AGENT_MAX_ITERATIONS,
    turn_timeout_s: values.TURN_TIMEOUT_S,
    turn_max_tokens: values.TURN_MAX_TOKENS,
    turn_max_cost_usd: values.TURN_MAX_COST_USD,
    continue_cut_answers: values.TOKEN_BUDGET_ENABLED,
    hooks: {
      load: values.HOOKS_SETTINGS_LOAD_ENABLED,
      pre_tool: values.PRE_TOOL_HOOKS_ENABLED,
      post_tool: values.POST_TOOL_HOOKS_ENABLED,
      stop: values.STOP_HOOKS_ENABLED,
    },
    sandbox_mode: values.SANDBOX_MODE,
    sandbox_allowed_hosts: values.SANDBOX_ALLOWED_HOSTS,
    path: given.PATH ?? '/usr/local/bin:/usr/bin:/bin',
    cache_monitor: values.CACHE_HIT_MONITOR_ENABLED,
    compact: values.REACTIVE_COMPACT_ENABLED,
    tool_concurrency: values.CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY,
    replay_ttl_s: values.CHANNEL_STATE_TTL_ACTIVE,
    hitl_ttl_s: values.CHANNEL_STATE_TTL_HITL,
    host: values.ENGINE_HOST,
    port: values.ENGINE_PORT,
    log_level: values.ENGINE_LOG_LEVEL,
    secrets: secretsOf(given),
    scrub_tool_results: values.SCRUB_TOOL_RESULTS_ENABLED,
    epoch: values.ENGINE_EPOCH,
    warnings,
  };
}

const ownRoot = (brain_path: string) => join(dirname(brain_path), 'workspace');

const unusable = (problems: string[]) =>
  new StartError(EngineExit.BAD_CONFIG, `The configuration is not usable. ${problems.join('. ')}.`);

/** Variables whose names say that they hold a secret, whoever they are for. */
const SECRET_NAME = /(KEY|KEY_HASH|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$/i;

/** What no secret is: a path to one, or a number. */
const NO_SECRET = /^([./~]|\d+$)/;

/** The secrets of an environment: of variables that are named so, and passwords in URLs. */
function secretsOf(given: Record<string, string | undefined>): string[] {
  return Object.entries(given).flatMap(([name, value = '']) => {
    const password = value.includes('://') ? (URL.parse(value)?.password ?? '') : '';
    const named = SECRET_NAME.test(name) ? value.split(',').filter((part) => !NO_SECRET.test(part)) : [];
    return [...named, ...(password === '' ? [] : [password, decodeURIComponent(password)])];
  });
}

const searcher = (api_key: string | undefined, base_url: string) =>
  api_key === undefined ? undefined : { api_key, base_url };

function keyProblems(given: Record<string, string | undefined>): string[] {
  if (given.ENGINE_KEY_HASH !== undefined || given.ENGINE_API_KEY !== undefined) return [];
  return [
    'ENGINE_KEY_HASH: missing; set it to the SHA-256 of the API key, or ENGINE_API_KEY to a key of your own for development',
  ];
}

function rangeProblems(values: Values): string[] {
  if (values.BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS <= values.BAP_KEY_ROTATION_MAX_OVERLAP_SECONDS) return [];
  return ['BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS: must not be above BAP_KEY_ROTATION_MAX_OVERLAP_SECONDS'];
}

type ModelChoice =
  | {
      choice: Pick<Config['model'], 'provider' | 'model' | 'api_keys' | 'base_url' | 'openai_api'>;
      warnings: string[];
    }
  | { problem: string };

/**
 * Which model answers. The rule: never a provider nobody asked for. A key of another provider than the chosen
 * one is taken for a mistake and named, not for a wish; the offline `demo` stands in only where no key at all
 * is set, and never in production (E1, E2).
 */
function chooseModel(values: Values): ModelChoice {
  const production = values.NODE_ENV === 'production';
  const provider = values.LLM_PROVIDER ?? 'openai';
  if (provider === 'demo') {
    if (production)
      return { problem: 'LLM_PROVIDER: demo is an offline toy and not for production; name a real provider' };
    return { choice: { provider, model: 'demo', api_keys: {} }, warnings: [] };
  }

  const api_key = values.LLM_API_KEY ?? values[KEY_VARIABLES[provider]];
  if (api_key === undefined && values.LLM_BASE_URL === undefined) {
    const others = Object.entries(KEY_VARIABLES).filter(([, variable]) => values[variable] !== undefined);
    const [other] = others;
    if (other !== undefined) {
      const chosen =
        values.LLM_PROVIDER === undefined
          ? 'LLM_PROVIDER is not set and means openai'
          : `LLM_PROVIDER is ${provider}`;
      return {
        problem: `LLM_PROVIDER: ${chosen}, but only ${others.map(([, variable]) => variable).join(' and ')} is set; set LLM_PROVIDER=${other[0]}, or LLM_API_KEY to a key of ${provider}`,
      };
    }
    if (production) {
      return {
        problem: `LLM_API_KEY: missing; set it to a key of ${provider}, or LLM_BASE_URL to a compatible server`,
      };
    }
    return {
      choice: { provider: 'demo', model: 'demo', api_keys: {} },
      warnings: [
        'No provider key is set: the offline demo model answers. Set LLM_PROVIDER and LLM_API_KEY for a real one.',
      ],
    };
  }

  return {
    choice: {
      provider,
      model: values.LLM_MODEL ?? DEFAULT_MODELS[provider],
      api_keys: {
        anthropic: values.ANTHROPIC_API_KEY,
        openai: values.OPENAI_API_KEY,
        gemini: values.GEMINI_API_KEY,
        [provider]: api_key,
      },
      base_url: values.LLM_BASE_URL,
      openai_api: values.LLM_OPENAI_API,
    },
    warnings: [],
  };
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}
