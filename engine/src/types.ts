/**
 * The types that cross a module boundary inside the Engine, each defined once.
 * Source: engine-runtime, "Shared types". Plain data: everything here survives JSON.
 */

/**
 * A model's blocks may carry a `signature`: the provider's own proofs (of its reasoning, mostly) as opaque
 * JSON that goes back unchanged with the next call. Herald writes it and reads it; nobody else looks inside.
 */
export type TextBlock = { type: 'text'; text: string; signature?: string; note?: NoteKind };

/**
 * Why the Engine itself says something to the model, on the user's side of the conversation. What carries it is not
 * the person's word: it neither begins a turn nor outlives a compaction as what the person said.
 */
export type NoteKind =
  | 'repeated_call'
  | 'output_schema'
  | 'repair'
  | 'continue'
  | 'tool_hook'
  | 'stop_hook'
  | 'document';

export type ThinkingBlock = { type: 'thinking'; text: string; signature?: string };

/**
 * `invalid_input` is what the model sent when that was not a JSON object; then `input` is empty and the call
 * is answered with a result whose `error` is `invalid_input`, never run.
 */
export type ToolUseBlock = {
  type: 'tool_use';
  id: string;
  name: string;
  input: Record<string, unknown>;
  invalid_input?: string;
  signature?: string;
};

/**
 * `error` is a reason such as `invalid_input`; then `output` may be empty or explain it. `outside`: strangers wrote it; a
 * mark that they cannot know, to tell the model where their words begin and end.
 */
export type ToolResultBlock = {
  type: 'tool_result';
  tool_use_id: string;
  output: unknown;
  error?: string;
  outside?: string;
};

export type MediaSource = { type: 'base64'; media_type: string; data: string } | { type: 'url'; url: string };

export type ImageBlock = { type: 'image'; source: MediaSource };

/** `text` is what a document says, for models that take no documents; of text files always there. */
export type MediaBlock = {
  type: 'document' | 'audio' | 'video';
  source: MediaSource;
  name?: string | undefined;
  text?: string;
};

/** The text of a document that is kept outside of the conversation: `chunks` put together. */
export type IngestedDocument = { document_id: string; name: string; chunks: string[] };

/** Media as they came: what joins the conversation, and the text of what is too large for it. */
export type TakenMedia = { blocks: (ImageBlock | MediaBlock | TextBlock)[]; documents: IngestedDocument[] };

export type ContentBlock =
  | TextBlock
  | ThinkingBlock
  | ToolUseBlock
  | ToolResultBlock
  | ImageBlock
  | MediaBlock;

/** Tool results travel in a `user` message, in the order of the calls they answer. */
export type Message = { role: 'user' | 'assistant'; content: ContentBlock[] };

/** What the model sees of a tool; `input_schema` is JSON Schema. */
export type ToolDef = { name: string; description: string; input_schema: Record<string, unknown> };

/** Tokens of one model call. `cache_hit_tokens` is a part of `input_tokens`. */
export type Usage = { input_tokens: number; output_tokens: number; cache_hit_tokens: number };

/** `openai` also stands for every server that is compatible with it. */
export type ProviderName = 'anthropic' | 'openai' | 'gemini' | 'demo';

export type BlockType = 'text' | 'thinking' | 'tool_use';

export type StopReason = 'end_turn' | 'tool_use' | 'max_tokens';

/**
 * One piece of a streaming model answer, the same for every provider. Per block: `block_start`, its deltas,
 * `block_stop` with the whole block; blocks may not interleave. `finish` comes once, last; `model` and `provider`
 * are who really answered, `cost_usd` is by the price list, null where that is not known.
 */
export type StreamEvent =
  | { type: 'block_start'; index: number; block_type: BlockType }
  | { type: 'text'; index: number; text: string }
  | { type: 'thinking'; index: number; text: string }
  | { type: 'block_stop'; index: number; block: TextBlock | ThinkingBlock | ToolUseBlock }
  | {
      type: 'finish';
      stop_reason: StopReason;
      usage: Usage;
      model: string;
      provider: ProviderName;
      cost_usd: number | null;
    };

/**
 * Something that is not simply allowed. `subject`: what exactly, a path, a host or a command; with `danger` it is what
 * an answer for later is remembered by. `opens`: what a yes lets the call reach.
 */
export type Finding = {
  danger: string;
  decision: 'ask' | 'deny';
  subject: string;
  reason: string;
  opens?: { path: string } | { host: string };
};
