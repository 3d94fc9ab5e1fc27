/**
 * What a test tells the scripted model server to answer, independent of the provider: the same script runs
 * over every wire format. One `Reply` answers one model call; replies are used in the order given.
 */
export type Step =
  /** Answer text in `chunks` pieces (default: a piece per word). */
  | { text: string; chunks?: number }
  /** Reasoning text, streamed like text, where the wire has it. */
  | { thinking: string; chunks?: number }
  /** A tool call, its JSON input in `fragments` pieces (default 3). `id` is made up when absent. */
  | { tool: string; input: Record<string, unknown>; id?: string; fragments?: number }
  /** Hold the stream here until the promise settles. */
  | { until: Promise<unknown> }
  /** The provider's own in-stream error (`overloaded_error` and its like), then the end. */
  | { overloaded: true }
  /** A chunk that is not valid JSON. */
  | { malformed: true }
  /** Destroy the socket in the middle of the body. */
  | { cut: true };

export type Reply =
  | {
      steps: Step[];
      /** Default: `tool_use` after a tool step, else `end_turn`. */
      stop_reason?: 'end_turn' | 'tool_use' | 'max_tokens';
      usage?: { input_tokens: number; output_tokens: number; cache_hit_tokens?: number };
    }
  /** An HTTP error in the provider's own error body: 429, 500, 529, 401, 400 … */
  | { status: number; retry_after_s?: number; message?: string }
  /** Accept the request and never answer. */
  | { silent: true };

/** A model call as it came in. */
export type ReceivedRequest = {
  wire: 'anthropic' | 'openai_chat' | 'openai_responses' | 'gemini';
  path: string;
  headers: Record<string, string>;
  body: Record<string, unknown>;
};

export type ModelServer = {
  /** `http://127.0.0.1:{port}`; base URLs: `{url}/v1` (Anthropic, OpenAI), `{url}/v1beta` (Gemini). */
  url: string;
  /** Appends replies to the queue. A call that finds it empty gets HTTP 500 that says so. */
  script(...replies: Reply[]): void;
  /** Every call received so far, oldest first. */
  requests: ReceivedRequest[];
  close(): Promise<void>;
};
