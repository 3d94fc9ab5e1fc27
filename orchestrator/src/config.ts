/**
 * Every variable the orchestrator reads, once: parsed, typed, with its default and its meaning as data, so
 * that the reference page and the errors come from the same place. Nobody else reads the environment.
 * Source: bap-engine §12, O31, O32.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type MasterKeys, parseMasterKeys } from './keys/master.ts';
import { SleepMode } from './registry/policy.ts';

type Mode = 'development' | 'production';

/** Beside the standard set of keys, development hands on what selects a model. */
const DEVELOPMENT_PASSTHROUGH =
  'LLM_API_KEY,OPENAI_API_KEY,ANTHROPIC_API_KEY,GEMINI_API_KEY,LLM_PROVIDER,LLM_MODEL,LLM_BASE_URL';
const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
/** What every engine gets, beside the mode, its own variables and the pass-through. */
const BASE_ENVIRONMENT = ['TZ', 'LANG'];
/** What a program of this machine needs in order to run, and to start quickly (scripts/run.mjs); no container does. */
const PROCESS_ENVIRONMENT = ['PATH', 'NODE_COMPILE_CACHE'];

/** Each costs the memory of an idle engine; a pool refills in seconds, so more of them help nobody. */
const MAX_WARM_POOL = 1000;

/** Guessing a shorter one over the network is thinkable; the advised 48 random bytes have 64 characters. */
const MIN_ADMIN_KEY = 32;
/** Variables that can be given as `{name}_FILE` instead: the path of a file that holds the value. */
const FROM_FILE = ['ORCH_DATABASE_URL', 'ORCH_MASTER_KEY', 'ORCH_ADMIN_KEY'] as const;
/** A list of some hundred master keys; what is longer is no secret, characters. */
const MAX_SECRET = 16_384;

const CPUS = 'must be a number from 0.1 to 1024';

/** `default` is what an unset variable stands for; null: it is required. */
const documented = z.registry<{ default: string | null | Record<Mode, string>; meaning: string }>();

// Functions, because documentation hangs on the instance of a schema.
const required = () => z.string({ error: 'is required' });
const text = () => z.string().min(1);
function integer(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z
    .string()
    .regex(/^\d{1,9}$/, error)
    .transform(Number)
    .refine((value) => value >= min && value <= max, error);
}

const Environment = z
  .object({
    NODE_ENV: text().register(documented, {
      default: 'development',
      meaning: '`production`: nothing is made up; what is required must be given.',
    }),
    ORCH_DATABASE_URL: required()
      .refine(
        (url) => /^postgres(ql)?:\/\/./.test(url) && URL.canParse(url),
        'must be postgresql://user:password@host:port/database',
      )
      .register(documented, {
        default: null,
        meaning:
          '`postgresql://user:password@host:port/database`. Unset in development: an embedded PostgreSQL in ORCH_DATA_DIR.',
      }),
    ORCH_MASTER_KEY: required().transform(masterKeys).register(documented, {
      default: null,
      meaning:
        'Seals engine keys at rest. A Fernet key, or several separated by commas: the first seals, every one opens. Made by itself in development.',
    }),
    ORCH_ADMIN_KEY: required().register(documented, {
      default: null,
      meaning: `Opens the admin endpoints (\`X-Admin-Key\`). In production at least ${MIN_ADMIN_KEY} characters; advised are 48 random bytes as base64. Made by itself in development.`,
    }),
    ORCH_HOST: text().register(documented, {
      default: { development: '127.0.0.1', production: '0.0.0.0' },
      meaning: 'Listen address.',
    }),
    ORCH_PORT: integer(0, 65_535).register(documented, {
      default: '8000',
      meaning: 'Listen port; 0 takes any free one.',
    }),
    ORCH_DATA_DIR: text().register(documented, {
      default: '.september',
      meaning:
        'Folder of the embedded database, the development secrets and the engines of the subprocess backend.',
    }),
    ORCH_LOG_LEVEL: z
      .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal'], {
        error: 'must be trace, debug, info, warn, error or fatal',
      })
      .register(documented, { default: 'info', meaning: 'Lowest level that is logged.' }),
    ORCH_ENGINE_BACKEND: z
      .enum(['docker', 'subprocess'], { error: 'must be docker or subprocess' })
      .register(documented, {
        default: { development: 'subprocess', production: 'docker' },
        meaning: 'What engines run on: containers of a Docker daemon, or processes of this machine.',
      }),
    ORCH_ENGINE_IMAGE: text().register(documented, {
      default: 'september-engine:latest',
      meaning:
        '`engine_version` of a provision that names none; changed, it is rolled out to the engines there are.',
    }),
    ORCH_ENGINE_ENV_PASSTHROUGH: z
      .string()
      .transform(names)
      .register(documented, {
        default: { development: DEVELOPMENT_PASSTHROUGH, production: '' },
        meaning: 'Names of variables handed on to every engine, unchanged, separated by commas.',
      }),
    ORCH_ENGINE_NETWORK: z
      .string()
      .regex(/^[a-zA-Z0-9][\w.-]{0,62}$/, 'must be a name of a Docker network')
      .register(documented, {
        default: 'engine_net',
        meaning:
          'Docker: the network of the engines, made when missing, without a way from one to another. It also tells the engines of one installation from those of another on the same daemon.',
      }),
    ORCH_ENGINE_URL_MODE: z
      .enum(['host', 'network'], { error: 'must be host or network' })
      .register(documented, {
        default: 'host',
        meaning:
          'Docker: the `url` of engines. `host`: a port of this machine; `network`: their name in ORCH_ENGINE_NETWORK, for an orchestrator and products that are on it. compose.yaml sets `network`.',
      }),
    ORCH_ENGINE_MEMORY_MB: integer(128, 1_048_576).register(documented, {
      default: '1024',
      meaning: 'Docker: memory of an engine with all it starts, MiB; what needs more is killed.',
    }),
    ORCH_ENGINE_CPUS: z
      .string()
      .regex(/^\d{1,4}(\.\d{1,2})?$/, CPUS)
      .transform(Number)
      .refine((value) => value >= 0.1 && value <= 1024, CPUS)
      .register(documented, {
        default: '2',
        meaning: 'Docker: processors an engine may keep busy, decimals allowed.',
      }),
    ORCH_ENGINE_PIDS: integer(64, 1_000_000).register(documented, {
      default: '512',
      meaning: 'Docker: processes and threads of an engine with all it starts.',
    }),
    ORCH_ENGINE_RUNTIME: z.string().register(documented, {
      default: '',
      meaning: "Docker: the runtime of the engines' containers, such as `runsc`; empty: the daemon's own.",
    }),
    DOCKER_HOST: z
      .string()
      .regex(/^(unix:\/\/\/.+|tcp:\/\/[^/:]+:\d+)$/, 'must be unix:///path or tcp://host:port')
      .register(documented, {
        default: 'unix:///var/run/docker.sock',
        meaning: 'The Docker daemon: `unix:///path`, or `tcp://host:port` in a network that is trusted.',
      }),
    ORCH_CATALOG_MOUNT_PATH: text().register(documented, {
      default: resolve(REPOSITORY, 'catalog'),
      meaning:
        "Folder of agents, skills and tools that engines read. Docker: on the daemon's machine; unset: the one in the engine's image.",
    }),
    ORCH_PORT_MIN: integer(1, 65_535).register(documented, {
      default: '9001',
      meaning: "Lower bound of the engines' ports.",
    }),
    ORCH_PORT_MAX: integer(1, 65_535).register(documented, {
      default: '29999',
      meaning: "Upper bound of the engines' ports.",
    }),
    ORCH_BOOT_TIMEOUT_S: integer(1, 3600).register(documented, {
      default: '60',
      meaning: 'How long an engine may take from its start to good health, seconds.',
    }),
    ORCH_HEALTH_CHECK_INTERVAL_S: integer(2, 3600).register(documented, {
      default: '30',
      meaning: 'How often each running engine is probed, seconds.',
    }),
    ORCH_HEALTH_CHECK_TIMEOUT_S: integer(1, 3600).register(documented, {
      default: '10',
      meaning: 'How long an engine may take to answer a probe, seconds; below the interval.',
    }),
    ORCH_HEALTH_MAX_FAILURES: integer(1, 1000).register(documented, {
      default: '3',
      meaning: 'Ill probes in a row after which an engine is `failed`.',
    }),
    ORCH_RESTART_BACKOFF_BASE_S: integer(1, 3600).register(documented, {
      default: '5',
      meaning: 'Pause before the first restart of a failed engine, seconds; doubles with each attempt.',
    }),
    ORCH_RESTART_BACKOFF_MAX_S: integer(1, 86_400).register(documented, {
      default: '300',
      meaning: 'Longest pause before a restart, seconds.',
    }),
    ORCH_RESTART_MAX_ATTEMPTS: integer(0, 1000).register(documented, {
      default: '8',
      meaning: 'Restarts that are tried before it is given up.',
    }),
    ORCH_RESTART_RESET_AFTER_S: integer(1, 86_400).register(documented, {
      default: '300',
      meaning: 'Steady health after which restarts are counted from the first again, seconds.',
    }),
    ORCH_IDLE_TIMEOUT_S: integer(0, 31_536_000).register(documented, {
      default: '900',
      meaning:
        'For how long an engine must have had no turn, no open stream, no background work and no admit before it is put to sleep, seconds; 0: nothing falls asleep by itself.',
    }),
    ORCH_SLEEP_MODE: z
      .enum(SleepMode.options, { error: `must be ${SleepMode.options.join(', ')}` })
      .register(documented, {
        default: 'doze+hibernate',
        meaning:
          "How idle engines sleep, where the product's policy has no `sleep_mode`: `label` in name only, `doze` frozen in memory, `hibernate` stopped, `doze+hibernate` first the one, later the other.",
      }),
    ORCH_HIBERNATE_AFTER_S: integer(1, 31_536_000).register(documented, {
      default: '3600',
      meaning: 'How long an engine dozes before it hibernates, seconds.',
    }),
    ORCH_WARM_POOL: integer(0, MAX_WARM_POOL).register(documented, {
      default: '0',
      meaning: `Engines of ORCH_ENGINE_IMAGE that stand ready before anybody needs them, ${MAX_WARM_POOL} at most; each takes the memory and the port of a running one. The same on every replica.`,
    }),
    ORCH_UPGRADE_CANARY_PERCENT: integer(0, 100).register(documented, {
      default: '5',
      meaning:
        'When ORCH_ENGINE_IMAGE changes: so many percent of the engines, one at least, are upgraded at their next boot, and more only by `bap-engine upgrade --percent`; 0: none without that.',
    }),
    ORCH_UPGRADE_PROBATION_S: integer(1, 86_400).register(documented, {
      default: '300',
      meaning:
        'How long an engine must have been well on a new image before more than the canary share get it, seconds; one that fails sooner after its upgrade halts the roll-out.',
    }),
    ORCH_ROTATE_OVERLAP_S: integer(0, 86_400).register(documented, {
      default: '60',
      meaning: 'How long the old key of an engine stays good after a rotation, seconds.',
    }),
    ORCH_AUDIT_RETENTION_DAYS: integer(0, 36_500).register(documented, {
      default: '0',
      meaning: 'Rows of the audit log older than so many days are removed; 0 keeps them for ever.',
    }),
    ORCH_RECONCILE_INTERVAL_S: integer(1, 3600).register(documented, {
      default: '20',
      meaning: 'How often the registry is compared with what the backend runs, seconds.',
    }),
  })
  .refine((env) => env.ORCH_HEALTH_CHECK_TIMEOUT_S < env.ORCH_HEALTH_CHECK_INTERVAL_S, {
    path: ['ORCH_HEALTH_CHECK_TIMEOUT_S'],
    error: 'must be below ORCH_HEALTH_CHECK_INTERVAL_S',
  })
  .refine((env) => env.ORCH_RESTART_BACKOFF_BASE_S <= env.ORCH_RESTART_BACKOFF_MAX_S, {
    path: ['ORCH_RESTART_BACKOFF_BASE_S'],
    error: 'must not be above ORCH_RESTART_BACKOFF_MAX_S',
  })
  .refine((env) => env.ORCH_PORT_MIN <= env.ORCH_PORT_MAX, {
    path: ['ORCH_PORT_MIN'],
    error: 'must not be above ORCH_PORT_MAX',
  })
  .refine((env) => env.ORCH_WARM_POOL <= Math.max(0, env.ORCH_PORT_MAX - env.ORCH_PORT_MIN), {
    path: ['ORCH_WARM_POOL'],
    error: 'must be below the number of ports from ORCH_PORT_MIN to ORCH_PORT_MAX',
  });

/** The variables as data: name, default, meaning. */
export const VARIABLES = [
  ...Object.entries(Environment.shape).map(([name, schema]) => {
    const doc = documented.get(schema);
    if (doc === undefined) throw new TypeError(`${name} is not documented`);
    return { name, ...doc };
  }),
  ...FROM_FILE.map((name) => ({
    name: `${name}_FILE`,
    default: '',
    meaning: `A file that holds ${name}, instead of it; a line break at its end does not count.`,
  })),
];

export type Config = {
  mode: Mode;
  database_url: string;
  master_keys: MasterKeys;
  admin_key: string;
  host: string;
  port: number;
  /** Absolute. */
  data_dir: string;
  log_level: string;
  backend: 'docker' | 'subprocess';
  docker: DockerConfig;
  engine_image: string;
  /** What engines get beside their own variables: the pass-through, the mode, time zone and language. */
  engine_environment: Record<string, string>;
  /** What engines that are processes of this machine get as well. */
  process_environment: Record<string, string>;
  /** Absolute. */
  catalog_dir: string;
  port_min: number;
  port_max: number;
  boot_timeout_s: number;
  health: HealthSettings;
  restarts: RestartPolicy;
  reconcile_interval_s: number;
  /** 0: for ever. */
  audit_retention_days: number;
  sleep: SleepSettings;
  /** Engines that stand ready without an owner (O26). */
  warm_pool: number;
  /** How long a replaced engine key stays good, seconds (O8). */
  rotate_overlap_s: number;
  canary: CanarySettings;
};

/** How much of a roll-out has to prove itself, and for how long; percent and seconds. */
export type CanarySettings = { canary_percent: number; probation_s: number };

/** Where containers of engines run, and within which limits (bap-engine §8, O14). */
export type DockerConfig = {
  /** `unix:///path` or `tcp://host:port`. */
  host: string;
  network: string;
  url_mode: 'host' | 'network';
  memory_mb: number;
  cpus: number;
  pids: number;
  /** Empty: the daemon's own. */
  runtime: string;
  /** A folder of the daemon's machine; null: the catalog in the image. */
  catalog_dir: string | null;
};

/** When engines fall asleep by themselves, and how (O4, O5); times are seconds. */
export type SleepSettings = {
  /** 0: never. */
  idle_timeout_s: number;
  sleep_mode: SleepMode;
  hibernate_after_s: number;
};

/** How running engines are probed (bap-engine §7); times are seconds. */
export type HealthSettings = { interval_s: number; timeout_s: number; max_failures: number };

/** How failed engines are brought back (O10); times are seconds. */
export type RestartPolicy = {
  backoff_base_s: number;
  backoff_max_s: number;
  max_attempts: number;
  /** Steady health after which the attempts are forgotten. */
  reset_after_s: number;
};

/** Everything that is wrong with the environment; one line per problem, each naming its variable. */
export class ConfigError extends Error {
  override name = 'ConfigError';
  readonly problems: string[];

  constructor(problems: string[]) {
    super(['The configuration cannot be used:', ...problems].join('\n  '));
    this.problems = problems;
  }
}

type Given = Record<string, string | undefined>;

/**
 * `env` with the contents of the files that its `…_FILE` variables name in the place of these. Throws `ConfigError`.
 * `loadConfig` does it by itself; this is for who has to know before what is given and what is not.
 */
export function readSecretFiles(env: Given, cwd: string): Given {
  const { given, problems } = resolveFiles(env, cwd);
  if (problems.size > 0) throw new ConfigError([...problems.values()]);
  return given;
}

/** `problems`: by the variable that could not be had. */
function resolveFiles(env: Given, cwd: string): { given: Given; problems: Map<string, string> } {
  const given = { ...env };
  const problems = new Map<string, string>();
  for (const name of FROM_FILE) {
    const file = env[`${name}_FILE`];
    if (!file) continue;
    delete given[`${name}_FILE`];
    if (env[name]) {
      problems.set(name, `${name}_FILE and ${name} are both set: unset one of them`);
      continue;
    }
    const read = readSecret(resolve(cwd, file));
    if ('problem' in read) problems.set(name, `${name}_FILE names ${file}, which ${read.problem}`);
    else given[name] = read.value;
  }
  return { given, problems };
}

function readSecret(file: string): { value: string } | { problem: string } {
  try {
    const value = readFileSync(file, 'utf8').replace(/(\r?\n)+$/, '');
    if (value === '') return { problem: 'is empty' };
    return value.length > MAX_SECRET ? { problem: `has more than ${MAX_SECRET} characters` } : { value };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : 'unknown';
    return { problem: `cannot be read (${code})` };
  }
}

/**
 * Reads the configuration from `env`; an empty variable counts as unset, relative paths start at `cwd`.
 * Throws `ConfigError` with every problem at once.
 */
export function loadConfig(env: Given, cwd: string): Config {
  const { given, problems: unread } = resolveFiles(env, cwd);
  const mode: Mode = env.NODE_ENV === 'production' ? 'production' : 'development';
  const filled = Object.fromEntries(
    VARIABLES.map(({ name, default: fallback }) => {
      const byDefault = fallback === null || typeof fallback === 'string' ? fallback : fallback[mode];
      return [name, given[name] || (byDefault ?? undefined)];
    }),
  );
  const parsed = Environment.safeParse(filled);
  const issues = parsed.error?.issues.filter(({ path }) => !unread.has(path.join('.'))) ?? [];
  const problems = [...unread.values(), ...issues.map((issue) => `${issue.path.join('.')} ${issue.message}`)];
  const admin_key = filled.ORCH_ADMIN_KEY;
  if (mode === 'production' && admin_key !== undefined && admin_key.length < MIN_ADMIN_KEY) {
    problems.push(`ORCH_ADMIN_KEY must have at least ${MIN_ADMIN_KEY} characters in production`);
  }
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  const values = parsed.data;
  const handOn = (names: readonly string[]) =>
    Object.fromEntries(names.flatMap((name) => (env[name] ? [[name, env[name]]] : [])));
  return {
    mode,
    database_url: values.ORCH_DATABASE_URL,
    master_keys: values.ORCH_MASTER_KEY,
    admin_key: values.ORCH_ADMIN_KEY,
    host: values.ORCH_HOST,
    port: values.ORCH_PORT,
    data_dir: resolve(cwd, values.ORCH_DATA_DIR),
    log_level: values.ORCH_LOG_LEVEL,
    backend: values.ORCH_ENGINE_BACKEND,
    docker: {
      host: values.DOCKER_HOST,
      network: values.ORCH_ENGINE_NETWORK,
      url_mode: values.ORCH_ENGINE_URL_MODE,
      memory_mb: values.ORCH_ENGINE_MEMORY_MB,
      cpus: values.ORCH_ENGINE_CPUS,
      pids: values.ORCH_ENGINE_PIDS,
      runtime: values.ORCH_ENGINE_RUNTIME,
      catalog_dir: given.ORCH_CATALOG_MOUNT_PATH ? resolve(cwd, given.ORCH_CATALOG_MOUNT_PATH) : null,
    },
    engine_image: values.ORCH_ENGINE_IMAGE,
    // The mode in any case: an engine's image has one of its own.
    engine_environment: {
      NODE_ENV: mode,
      ...handOn([...BASE_ENVIRONMENT, ...values.ORCH_ENGINE_ENV_PASSTHROUGH]),
    },
    process_environment: handOn(PROCESS_ENVIRONMENT),
    catalog_dir: resolve(cwd, values.ORCH_CATALOG_MOUNT_PATH),
    port_min: values.ORCH_PORT_MIN,
    port_max: values.ORCH_PORT_MAX,
    boot_timeout_s: values.ORCH_BOOT_TIMEOUT_S,
    health: {
      interval_s: values.ORCH_HEALTH_CHECK_INTERVAL_S,
      timeout_s: values.ORCH_HEALTH_CHECK_TIMEOUT_S,
      max_failures: values.ORCH_HEALTH_MAX_FAILURES,
    },
    restarts: {
      backoff_base_s: values.ORCH_RESTART_BACKOFF_BASE_S,
      backoff_max_s: values.ORCH_RESTART_BACKOFF_MAX_S,
      max_attempts: values.ORCH_RESTART_MAX_ATTEMPTS,
      reset_after_s: values.ORCH_RESTART_RESET_AFTER_S,
    },
    reconcile_interval_s: values.ORCH_RECONCILE_INTERVAL_S,
    audit_retention_days: values.ORCH_AUDIT_RETENTION_DAYS,
    sleep: {
      idle_timeout_s: values.ORCH_IDLE_TIMEOUT_S,
      sleep_mode: values.ORCH_SLEEP_MODE,
      hibernate_after_s: values.ORCH_HIBERNATE_AFTER_S,
    },
    warm_pool: values.ORCH_WARM_POOL,
    rotate_overlap_s: values.ORCH_ROTATE_OVERLAP_S,
    canary: {
      canary_percent: values.ORCH_UPGRADE_CANARY_PERCENT,
      probation_s: values.ORCH_UPGRADE_PROBATION_S,
    },
  };
}

function masterKeys(value: string, context: z.RefinementCtx): MasterKeys {
  const keys = parseMasterKeys(value);
  if (keys !== null) return keys;
  context.addIssue({
    code: 'custom',
    message: 'must be a Fernet key (32 random bytes as URL-safe base64), or several separated by commas',
  });
  return z.NEVER;
}

function names(value: string, context: z.RefinementCtx): string[] {
  const list = value
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
  for (const name of list) {
    if (!/^[A-Za-z_]\w*$/.test(name)) {
      context.addIssue({ code: 'custom', message: `holds \`${name}\`, which is not a name of a variable` });
    } else if (name.startsWith('ORCH_')) {
      context.addIssue({
        code: 'custom',
        message: `holds \`${name}\`: the orchestrator's own variables never go to an engine`,
      });
    }
  }
  return list;
}
