import type { IncomingHttpHeaders } from 'node:http';
import { schemaRefusal } from './schema.ts';
import { sign } from './sign.ts';
import { type Answer, type Failure, isObject, type Json, objects, sse, type Wire } from './wire.ts';

/** Anthropic Messages, streamed: https://docs.anthropic.com/en/api/messages-streaming */
export const anthropic: Wire = {
  name: 'anthropic',
  path: /^\/v1\/messages$/,
  refusal,
  error,
  answer: (body) => answer(String(body.model)),
};

const ERROR_TYPES: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  500: 'api_error',
  529: 'overloaded_error',
};

function error(failure: Failure): ReturnType<Wire['error']> {
  if ('context_overflow' in failure) {
    return error({ status: 400, message: 'prompt is too long: 210000 tokens > 200000 maximum' });
  }
  const { status, retry_after_s, message } = failure;
  const type = ERROR_TYPES[status] ?? 'api_error';
  return {
    status,
    headers: retry_after_s === undefined ? {} : { 'retry-after': String(retry_after_s) },
    body: {
      type: 'error',
      error: { type, message: message ?? `Scripted ${type}.` },
      request_id: 'req_scripted',
    },
  };
}

function answer(model: string): Answer {
  let index = -1;
  /** Thinking so far; its signature closes the block. */
  let thought = '';
  let open: 'text' | 'thinking' | 'tool_use' | undefined;

  const event = (type: string, fields: Json = {}) => sse({ type, ...fields }, type);
  const delta = (fields: Json) => event('content_block_delta', { index, delta: fields });

  function close(): string[] {
    if (open === undefined) return [];
    const signature =
      open === 'thinking' ? [delta({ type: 'signature_delta', signature: sign(thought) })] : [];
    open = undefined;
    return [...signature, event('content_block_stop', { index })];
  }
  function start(type: 'text' | 'thinking' | 'tool_use', content_block: Json): string[] {
    if (open === type && type !== 'tool_use') return [];
    const closed = close();
    open = type;
    index += 1;
    thought = '';
    return [...closed, event('content_block_start', { index, content_block: { type, ...content_block } })];
  }

  return {
    begin: () => [
      event('message_start', {
        message: {
          id: 'msg_scripted',
          type: 'message',
          role: 'assistant',
          model,
          content: [],
          stop_reason: null,
          stop_sequence: null,
          usage: {
            input_tokens: 1,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: 0,
            output_tokens: 1,
          },
        },
      }),
      event('ping'),
    ],
    text: (pieces) => [
      ...start('text', { text: '' }),
      ...pieces.map((text) => delta({ type: 'text_delta', text })),
    ],
    thinking: (pieces) => {
      const started = start('thinking', { thinking: '', signature: '' });
      thought += pieces.join('');
      return [...started, ...pieces.map((thinking) => delta({ type: 'thinking_delta', thinking }))];
    },
    tool: ({ id, name, fragments }) => [
      ...start('tool_use', { id, name, input: {} }),
      ...fragments.map((partial_json) => delta({ type: 'input_json_delta', partial_json })),
    ],
    overloaded: () => [event('error', { error: { type: 'overloaded_error', message: 'Overloaded' } })],
    finish: (stop_reason, { input_tokens, output_tokens, cache_hit_tokens }) => [
      ...close(),
      event('message_delta', {
        delta: { stop_reason, stop_sequence: null },
        usage: {
          input_tokens: input_tokens - cache_hit_tokens,
          cache_creation_input_tokens: 0,
          cache_read_input_tokens: cache_hit_tokens,
          output_tokens,
        },
      }),
      event('message_stop'),
    ],
  };
}

const MAX_CACHE_MARKS = 4;
const TOOL_NAME = /^[a-zA-Z0-9_-]{1,128}$/;

function refusal(body: Json, headers: IncomingHttpHeaders): string | undefined {
  if (headers['anthropic-version'] === undefined) return 'anthropic-version: header is required';
  if (typeof body.model !== 'string') return 'model: Field required';
  if (typeof body.max_tokens !== 'number') return 'max_tokens: Field required';
  const thinking = isObject(body.thinking) && body.thinking.type !== 'disabled' ? body.thinking : undefined;
  if (typeof thinking?.budget_tokens === 'number' && thinking.budget_tokens >= body.max_tokens) {
    return '`max_tokens` must be greater than `thinking.budget_tokens`.';
  }
  for (const [index, tool] of objects(body.tools).entries()) {
    if (!TOOL_NAME.test(String(tool.name))) {
      return `tools.${index}.custom.name: String should match pattern '${TOOL_NAME.source}'`;
    }
    if (!isObject(tool.input_schema) || tool.input_schema.type !== 'object') {
      return `tools.${index}.custom.input_schema.type: Field required`;
    }
  }
  const format = isObject(body.output_config) ? body.output_config.format : undefined;
  const schemaFault = isObject(format) ? schemaRefusal(format.schema, false) : undefined;
  if (schemaFault !== undefined) return `output_config.format.schema: ${schemaFault}`;
  const marks = JSON.stringify(body).match(/"cache_control":\{/g)?.length ?? 0;
  if (marks > MAX_CACHE_MARKS) {
    return `A maximum of ${MAX_CACHE_MARKS} blocks with cache_control may be provided. Found ${marks}.`;
  }
  return conversationRefusal(objects(body.messages), thinking !== undefined);
}

function conversationRefusal(messages: Json[], thinking: boolean): string | undefined {
  if (messages.length === 0) return 'messages: at least one message is required';
  if (messages[0]?.role !== 'user') return 'messages: first message must use the "user" role';
  const lastAnswer = messages.findLastIndex((message) => message.role === 'assistant');

  for (const [index, message] of messages.entries()) {
    const content = blocks(message);
    const at = `messages.${index}`;
    if (message.role !== 'user' && message.role !== 'assistant') {
      return `${at}.role: Input should be 'user' or 'assistant'`;
    }
    if (message.role === messages[index - 1]?.role) {
      return `messages: roles must alternate between "user" and "assistant", but found multiple "${message.role}" roles in a row`;
    }
    if (content.length === 0) return `${at}: all messages must have non-empty content`;
    for (const block of content) {
      if (block.type === 'text' && String(block.text).trim() === '') {
        return `${at}: text content blocks must contain non-whitespace text`;
      }
      if (block.type === 'thinking' && block.signature !== sign(String(block.thinking))) {
        return `${at}: Invalid \`signature\` in \`thinking\` block`;
      }
      if (block.type === 'tool_use' && !isObject(block.input)) {
        return `${at}: tool_use.input: Input should be a valid dictionary`;
      }
    }
    if (thinking && index === lastAnswer && content.some(isToolUse) && content[0]?.type !== 'thinking') {
      return `${at}.content.0.type: Expected \`thinking\` or \`redacted_thinking\`, but found \`${content[0]?.type}\``;
    }
    if (message.role === 'assistant' && content.at(-1)?.type === 'thinking') {
      return `${at}: The final block in an assistant message cannot be \`thinking\`.`;
    }
    const refused = pairingRefusal(at, blocks(messages[index - 1]), content, blocks(messages[index + 1]));
    if (refused !== undefined) return refused;
  }
  return undefined;
}

/** Every call is answered by exactly one result in the very next message, and results come first there. */
function pairingRefusal(at: string, before: Json[], content: Json[], after: Json[]): string | undefined {
  const asked = before.filter(isToolUse).map((block) => block.id);
  const results = content.filter((block) => block.type === 'tool_result');
  const answered = results.map((block) => block.tool_use_id);
  for (const id of answered) {
    if (!asked.includes(id)) {
      return `${at}: unexpected \`tool_use_id\` found in \`tool_result\` blocks: ${id}. Each \`tool_result\` block must have a corresponding \`tool_use\` block in the previous message.`;
    }
    if (answered.indexOf(id) !== answered.lastIndexOf(id)) {
      return `${at}: each tool_use must have a single result. Found multiple \`tool_result\` blocks with id: ${id}`;
    }
  }
  if (results.some((_, index) => content[index]?.type !== 'tool_result')) {
    return `${at}: \`tool_result\` blocks must come first in the content`;
  }
  const given = after.filter((block) => block.type === 'tool_result').map((block) => block.tool_use_id);
  const unanswered = content.filter(isToolUse).filter((block) => !given.includes(block.id));
  if (unanswered.length > 0) {
    return `${at}: \`tool_use\` ids were found without \`tool_result\` blocks immediately after: ${unanswered.map((block) => block.id).join(', ')}. Each \`tool_use\` block must have a corresponding \`tool_result\` block in the next message.`;
  }
  return undefined;
}

const isToolUse = (block: Json) => block.type === 'tool_use';

function blocks(message: Json | undefined): Json[] {
  const content = message?.content;
  return typeof content === 'string' ? [{ type: 'text', text: content }] : objects(content);
}
