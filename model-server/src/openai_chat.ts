import { openaiError } from './openai_error.ts';
import { formatRefusal } from './schema.ts';
import { type Answer, isObject, type Json, objects, parseJson, sse, type Wire } from './wire.ts';

/** OpenAI Chat Completions, streamed: https://platform.openai.com/docs/api-reference/chat-streaming */
export const openaiChat: Wire = {
  name: 'openai_chat',
  path: /^\/v1\/chat\/completions$/,
  refusal: (body) => {
    if (typeof body.model !== 'string') return 'you must provide a model parameter';
    const format = isObject(body.response_format) ? body.response_format.json_schema : undefined;
    return (
      (isObject(format) ? formatRefusal(format) : undefined) ?? conversationRefusal(objects(body.messages))
    );
  },
  error: openaiError,
  answer: (body) =>
    answer(String(body.model), isObject(body.stream_options) && body.stream_options.include_usage === true),
};

const FINISH = { end_turn: 'stop', tool_use: 'tool_calls', max_tokens: 'length' };

function answer(model: string, includeUsage: boolean): Answer {
  let toolIndex = -1;
  const chunk = (fields: Json) =>
    sse({
      id: 'chatcmpl-scripted',
      object: 'chat.completion.chunk',
      created: 1_750_000_000,
      model,
      ...fields,
    });
  const choice = (delta: Json, finish_reason: string | null = null) =>
    chunk({ choices: [{ index: 0, delta, logprobs: null, finish_reason }] });
  const toolDelta = (fields: Json) => choice({ tool_calls: [{ index: toolIndex, ...fields }] });

  return {
    begin: () => [choice({ role: 'assistant', content: '', refusal: null })],
    text: (pieces) => pieces.map((content) => choice({ content })),
    thinking: () => [],
    tool: ({ id, name, fragments }) => {
      toolIndex += 1;
      return [
        toolDelta({ id, type: 'function', function: { name, arguments: '' } }),
        ...fragments.map((fragment) => toolDelta({ function: { arguments: fragment } })),
      ];
    },
    overloaded: () => [
      sse({
        error: {
          message: 'The server is currently overloaded.',
          type: 'server_error',
          param: null,
          code: 'overloaded',
        },
      }),
    ],
    finish: (reason, { input_tokens, output_tokens, cache_hit_tokens }) => {
      const usage = {
        prompt_tokens: input_tokens,
        completion_tokens: output_tokens,
        total_tokens: input_tokens + output_tokens,
        prompt_tokens_details: { cached_tokens: cache_hit_tokens },
        completion_tokens_details: { reasoning_tokens: 0 },
      };
      const last = includeUsage ? [chunk({ choices: [], usage })] : [];
      return [choice({}, FINISH[reason]), ...last, 'data: [DONE]\n\n'];
    },
  };
}

/** Each call of an assistant message is answered by one `tool` message right after it. */
function conversationRefusal(messages: Json[]): string | undefined {
  if (messages.length === 0) {
    return "Invalid 'messages': empty array. Expected an array with minimum length 1.";
  }
  let waiting: unknown[] = [];
  for (const [index, message] of [...messages, { role: 'end' }].entries()) {
    if (message.role === 'tool') {
      const { tool_call_id } = message as Json;
      if (!waiting.includes(tool_call_id)) {
        return `Invalid parameter: messages[${index}] with role 'tool' must be a response to a preceding message with 'tool_calls'.`;
      }
      waiting = waiting.filter((id) => id !== tool_call_id);
      continue;
    }
    if (waiting.length > 0) {
      return `An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: ${waiting.join(', ')}`;
    }
    if (!['system', 'developer', 'user', 'assistant', 'end'].includes(String(message.role))) {
      return `Invalid value: messages[${index}].role`;
    }
    const calls = objects((message as Json).tool_calls);
    if (calls.some((call) => !isObject(call.function) || !isObject(parseJson(call.function.arguments)))) {
      return `Invalid value: messages[${index}].tool_calls: arguments must be a JSON object`;
    }
    waiting = calls.map((call) => call.id);
  }
  return undefined;
}
