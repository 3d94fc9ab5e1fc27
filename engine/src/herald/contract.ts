import type { ModelRow, Prices } from '../catalog/models.ts';
import type { Message, ProviderName, StreamEvent, ToolDef } from '../types.ts';
import type { Quota } from './quota.ts';

/** One call of a model. */
export type ModelRequest = {
  /** A model id; which provider answers is `Herald.resolve`'s word. */
  model: string;
  system: string;
  messages: Message[];
  tools: ToolDef[];
  /** Output limit of this call, tokens. */
  max_tokens: number;
  /** Extended thinking, where the model has it. */
  thinking: boolean;
  /**
   * JSON Schema of the final answer (E4). Enforced while it is written where provider, model and schema allow;
   * where not, nothing is said to the model, so it has to stand in the conversation too, and the answer be checked.
   */
  output_schema?: Record<string, unknown> | undefined;
  signal: AbortSignal;
};

/** What is known of a model (catalog, `models.json`). `prices` are USD per million tokens. */
export type ModelInfo = {
  provider: ProviderName;
  /** The id that is really called. */
  model: string;
  /** Tokens, input and output together. */
  context_window: number;
  max_output_tokens: number | null;
  prices: Prices | null;
  takes: ModelRow['takes'];
  output_schema: ModelRow['output_schema'];
};

/** Who is called for a model id. */
export type Route = { provider: ProviderName; model: string };

/**
 * Output tokens on top of `max_tokens` when the model is asked to think: providers count thoughts as output,
 * and a limit meant for the answer would be spent before it begins. Small enough for models whose output is
 * limited to 16 k.
 */
export const THINKING_TOKENS = 8192;

/**
 * The models behind one streaming interface. Source: engine-runtime, "Model layer: herald".
 *
 * `complete` retries by itself **before** the first event (429, 5xx, overload, time-out; `Retry-After`
 * honoured), and then asks `FALLBACK_MODEL` once; `finish` says who answered. A call that breaks **after** the
 * first event throws with `visible: true`; whoever showed the events must say that they are void before calling
 * again. Every failure is a `HeraldError`; an abort of `signal` ends the iteration by throwing `signal.reason`.
 */
export type Herald = {
  /** Who answers where nobody names a model. */
  provider: ProviderName;
  model: string;
  complete(request: ModelRequest): AsyncIterable<StreamEvent>;
  /** The model that answers where `model` is asked for; the main one without a wish (E18), or without its key. */
  resolve(model: string | undefined): Route;
  info(model: string): ModelInfo;
  /**
   * The most a call can cost, USD, whoever answers it in the end (`FALLBACK_MODEL`); null where a price is not
   * known. What budgets are held by.
   */
  maxCost(model: string, input_tokens: number, max_output_tokens: number): number | null;
  /** What was used and what is left, by provider and model. Tells; never holds a call back. */
  quota(): Quota[];
  /** Word for `/health`: how the last real call went; `demo` for the offline model. Never calls the provider. */
  state(): 'ok' | 'error' | 'demo';
};

export type HeraldErrorCode = 'LLM_RATE_LIMITED' | 'LLM_TIMEOUT' | 'LLM_PROVIDER_ERROR' | 'CONTEXT_OVERFLOW';

/** A model call that failed for good. Message is for people and carries no key and no stack. */
export class HeraldError extends Error {
  override name = 'HeraldError';
  readonly code: HeraldErrorCode;
  readonly visible: boolean;
  /** `retry_after` in seconds, `status` of the provider, where known. */
  readonly details: { retry_after?: number; status?: number; provider: string };

  constructor(
    code: HeraldErrorCode,
    message: string,
    options: { visible: boolean; details: HeraldError['details']; cause?: unknown },
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.visible = options.visible;
    this.details = options.details;
  }
}
