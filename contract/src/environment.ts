import { z } from 'zod';
import { KeyHash } from './keys.ts';

/**
 * The environment variables an orchestrator starts an Engine with, beside the ones an operator names in
 * `ORCH_ENGINE_ENV_PASSTHROUGH`. Values are strings because that is what an environment holds.
 * Source: bap-engine, "Engine contract" (O22, E12, E28).
 */
export const EngineEnvironment = z.object({
  /** SHA-256 of the key the Engine accepts in `X-Engine-Key`. The plaintext never reaches the Engine. */
  ENGINE_KEY_HASH: KeyHash,
  /** Absolute path of the brain; its folder is the Engine's own. */
  SQLITE_DB_PATH: z.string().min(1),
  /** Absolute path of the read-only catalog. */
  CATALOG_DIR: z.string().min(1),
  /** Number of this start; the Engine refuses a brain that a higher number has held (O22). */
  ENGINE_EPOCH: z.string().regex(/^[1-9]\d*$/),
  ENGINE_HOST: z.string().min(1),
  ENGINE_PORT: z.string().regex(/^\d{1,5}$/),
});

export type EngineEnvironment = z.infer<typeof EngineEnvironment>;

/**
 * Secrets among what an Engine may be given. It takes each as `{NAME}_FILE` too: the absolute path of a file that holds
 * the value, so that whoever may look at a container's settings does not see it. A line break at its end does not count.
 */
export const ENGINE_SECRETS = [
  'ENGINE_KEY_HASH',
  'ENGINE_API_KEY',
  'LLM_API_KEY',
  'OPENAI_API_KEY',
  'ANTHROPIC_API_KEY',
  'GEMINI_API_KEY',
  'BRAVE_API_KEY',
  'TAVILY_API_KEY',
  'AD_ENCRYPTION_KEY',
] as const;

/**
 * Options of Node.js that whoever starts an Engine gives it. One user talks to it, and thousands of them share a
 * machine: with V8's own size for new objects, made for busy servers, each keeps 100 MiB of garbage around before it
 * looks for any (docs/performance.md).
 */
export const ENGINE_NODE_OPTIONS: readonly string[] = ['--max-semi-space-size=4'];

/**
 * Exit codes by which an Engine says why it did not start or had to stop. Backends read them, people find
 * them in the docs. 1 is anything unexpected.
 */
export const EngineExit = {
  /** Configuration is missing or wrong; the last log line names the variable. Starting again will not help. */
  BAD_CONFIG: 64,
  /** The port is taken. Another port will help. */
  PORT_TAKEN: 65,
  /** Another process has the brain open, and did not leave in time. */
  BRAIN_LOCKED: 66,
  /** The brain has been held by a newer epoch; this start is stale and must not be repeated (O22). */
  STALE_EPOCH: 67,
} as const;
