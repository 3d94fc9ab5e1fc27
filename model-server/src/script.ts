/**
 * What a test tells the scripted model server to answer, independent of the provider: the same script runs
 * over every wire format. One `Reply` answers one model call; replies are used in the order given.
 */
export type Step =
  /** Answer text in `chunks` pieces (default: a piece per word). A second text step in a row continues the block. */
  | { text: string; chunks?: number }
  /** Reasoning text, streamed like text; left out where the wire has none (Chat Completions). */
  | { thinking: string; chunks?: number }
  /**
   * A tool call, its JSON input in `fragments` pieces (default 3; Gemini sends calls whole). `id` is made up
   * when absent. A string is sent as it stands: input that is not valid JSON (Gemini cannot; it sends `{}`).
   */
  | { tool: string; input: Record<string, unknown> | string; id?: string; fragments?: number }
  /** Hold the stream here until the promise settles. */
  | { until: Promise<unknown> }
  /** The provider's own in-stream error (`overloaded_error` and its like), then the end. */
  | { overloaded: true }
  /** A chunk that is not valid JSON. */
  | { malformed: true }
  /** Destroy the socket in the middle of the body. */
  | { cut: true }
  /** End the body in good order, but without the provider's closing events. */
  | { stop: true };

export type StopReason = 'end_turn' | 'tool_use' | 'max_tokens';

/** `cache_hit_tokens` is a part of `input_tokens`. */
export type Usage = { input_tokens: number; output_tokens: number; cache_hit_tokens: number };

export type Reply =
  | {
      steps: Step[];
      /** Default: `tool_use` after a tool step, else `end_turn`. */
      stop_reason?: StopReason;
      /** Default: 10 in, 5 out, no hits. */
      usage?: Partial<Usage>;
    }
  /** An HTTP error in the provider's own error body: 429, 500, 529 (503 where the provider has no 529), 401, 400 … */
  | { status: number; retry_after_s?: number; message?: string }
  /** The provider's own answer to a conversation beyond the model's context. */
  | { context_overflow: true }
  /** Accept the request and never answer. */
  | { silent: true };

/** A model call as it came in. */
export type ReceivedRequest = {
  wire: 'anthropic' | 'openai_chat' | 'openai_responses' | 'gemini';
  path: string;
  headers: Record<string, string>;
  body: Record<string, unknown>;
  /** How the exchange ended: answered in full, cut by the script, or left by the client before its end. */
  ended: Promise<'complete' | 'cut' | 'client_left'>;
};

export type ModelServer = {
  /** `http://127.0.0.1:{port}`; base URLs: `{url}/v1` (Anthropic, OpenAI), `{url}/v1beta` (Gemini). */
  url: string;
  /** Appends replies to the queue. A call that finds it empty gets HTTP 500 that says so. */
  script(...replies: Reply[]): void;
  /** Instead of that 500: what a call gets that finds the queue empty, by what it asks. */
  answer(respond: (request: ReceivedRequest) => Reply): void;
  /** Every call received so far, oldest first; a call that was refused as malformed is there too. */
  requests: ReceivedRequest[];
  close(): Promise<void>;
};
