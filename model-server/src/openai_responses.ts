import { openaiError } from './openai_error.ts';
import { formatRefusal } from './schema.ts';
import { sign } from './sign.ts';
import { type Answer, isObject, type Json, objects, parseJson, sse, type Wire } from './wire.ts';

/** OpenAI Responses, streamed: https://platform.openai.com/docs/api-reference/responses-streaming */
export const openaiResponses: Wire = {
  name: 'openai_responses',
  path: /^\/v1\/responses$/,
  refusal: (body) => {
    if (typeof body.model !== 'string') return "Missing required parameter: 'model'.";
    const format = isObject(body.text) ? body.text.format : undefined;
    const refused = isObject(format) && format.type === 'json_schema' ? formatRefusal(format) : undefined;
    return refused ?? inputRefusal(objects(body.input), body.store !== false);
  },
  error: openaiError,
  answer: (body) => answer(String(body.model)),
};

function answer(model: string): Answer {
  let sequence_number = 0;
  /** Finished items; the closing event repeats them. */
  const output: Json[] = [];
  /** The item being streamed: `written` is its content so far. */
  let open:
    | { type: 'message' | 'reasoning' | 'function_call'; id: string; written: string; call?: Json }
    | undefined;

  const event = (type: string, fields: Json) =>
    sse({ type, sequence_number: sequence_number++, ...fields }, type);
  const place = () => ({ output_index: output.length });
  const response = (status: string, fields: Json = {}) => ({
    response: {
      id: 'resp_scripted',
      object: 'response',
      created_at: 1_750_000_000,
      status,
      model,
      output,
      error: null,
      incomplete_details: null,
      usage: null,
      ...fields,
    },
  });
  const done = (item: Json) => {
    const written = event('response.output_item.done', { ...place(), item });
    output.push(item);
    return written;
  };

  function close(): string[] {
    if (open === undefined) return [];
    const { type, id, written, call } = open;
    const where = { item_id: id, ...place() };
    open = undefined;
    if (type === 'function_call') {
      return [
        event('response.function_call_arguments.done', { ...where, arguments: written }),
        done({ id, type, ...call, status: 'completed', arguments: written }),
      ];
    }
    if (type === 'reasoning') {
      const part = { type: 'summary_text', text: written };
      return [
        event('response.reasoning_summary_text.done', { ...where, summary_index: 0, text: written }),
        event('response.reasoning_summary_part.done', { ...where, summary_index: 0, part }),
        done({ id, type, summary: [part], encrypted_content: sign(id) }),
      ];
    }
    const part = { type: 'output_text', text: written, annotations: [] };
    return [
      event('response.output_text.done', { ...where, content_index: 0, text: written }),
      event('response.content_part.done', { ...where, content_index: 0, part }),
      done({ id, type, role: 'assistant', status: 'completed', content: [part] }),
    ];
  }

  const added = (item: Json) => event('response.output_item.added', { ...place(), item });

  function start(type: 'message' | 'reasoning'): string[] {
    if (open?.type === type) return [];
    const closed = close();
    const id = `${type === 'message' ? 'msg' : 'rs'}_${output.length}`;
    const where = { item_id: id, ...place() };
    open = { type, id, written: '' };
    if (type === 'message') {
      const part = { type: 'output_text', text: '', annotations: [] };
      return [
        ...closed,
        added({ id, type, role: 'assistant', status: 'in_progress', content: [] }),
        event('response.content_part.added', { ...where, content_index: 0, part }),
      ];
    }
    const part = { type: 'summary_text', text: '' };
    return [
      ...closed,
      added({ id, type, summary: [], encrypted_content: '' }),
      event('response.reasoning_summary_part.added', { ...where, summary_index: 0, part }),
    ];
  }

  /** The deltas of the open item. */
  function deltas(type: string, pieces: string[], fields: Json = {}): string[] {
    const where = { item_id: open?.id, ...place(), ...fields };
    if (open) open.written += pieces.join('');
    return pieces.map((delta) => event(type, { ...where, delta }));
  }

  return {
    begin: () => [
      event('response.created', response('in_progress')),
      event('response.in_progress', response('in_progress')),
    ],
    text: (pieces) => [
      ...start('message'),
      ...deltas('response.output_text.delta', pieces, { content_index: 0 }),
    ],
    thinking: (pieces) => [
      ...start('reasoning'),
      ...deltas('response.reasoning_summary_text.delta', pieces, { summary_index: 0 }),
    ],
    tool: ({ id: call_id, name, fragments }) => {
      const closed = close();
      const id = `fc_${output.length}`;
      const call = { call_id, name };
      open = { type: 'function_call', id, written: '', call };
      return [
        ...closed,
        added({ id, type: 'function_call', ...call, status: 'in_progress', arguments: '' }),
        ...deltas('response.function_call_arguments.delta', fragments),
      ];
    },
    overloaded: () => [
      event(
        'response.failed',
        response('failed', {
          error: {
            code: 'server_is_overloaded',
            message: 'Our servers are currently overloaded. Please try again later.',
          },
        }),
      ),
    ],
    finish: (reason, { input_tokens, output_tokens, cache_hit_tokens }) => {
      const closed = close();
      const usage = {
        input_tokens,
        input_tokens_details: { cached_tokens: cache_hit_tokens },
        output_tokens,
        output_tokens_details: { reasoning_tokens: 0 },
        total_tokens: input_tokens + output_tokens,
      };
      return [
        ...closed,
        reason === 'max_tokens'
          ? event(
              'response.incomplete',
              response('incomplete', { usage, incomplete_details: { reason: 'max_output_tokens' } }),
            )
          : event('response.completed', response('completed', { usage })),
      ];
    },
  };
}

/** Calls and outputs pair up by `call_id`; a reasoning item comes with its proof and before what it led to. */
function inputRefusal(input: Json[], store: boolean): string | undefined {
  if (input.length === 0) return "Missing required parameter: 'input'.";
  const open = new Set<unknown>();
  const seen = new Set<unknown>();
  for (const [index, item] of input.entries()) {
    const at = `input[${index}]`;
    switch (item.type ?? 'message') {
      case 'message':
        if (!['system', 'developer', 'user', 'assistant'].includes(String(item.role))) {
          return `Invalid value: '${item.role}'. '${at}.role'`;
        }
        break;
      case 'function_call':
        if (!isObject(parseJson(item.arguments))) return `Invalid '${at}.arguments': not a JSON object.`;
        if (seen.has(item.call_id)) return `Duplicate function call '${item.call_id}'.`;
        seen.add(item.call_id);
        open.add(item.call_id);
        break;
      case 'function_call_output':
        if (!open.delete(item.call_id)) {
          return `No tool call found for function call output with call_id ${item.call_id}.`;
        }
        break;
      case 'reasoning': {
        const next = input[index + 1];
        if (!store && item.encrypted_content !== sign(String(item.id))) {
          return `The encrypted content for item ${item.id} could not be verified.`;
        }
        if (next?.type === 'function_call_output' || next === undefined || next.role === 'user') {
          return `Item '${item.id}' of type 'reasoning' was provided without its required following item.`;
        }
        break;
      }
      case 'item_reference':
        if (!store) {
          return `Item with id '${item.id}' not found. Items are not persisted when \`store\` is set to false.`;
        }
        break;
      default:
        return `Invalid value: '${item.type}'. '${at}.type'`;
    }
  }
  const [unanswered] = open;
  return unanswered === undefined ? undefined : `No tool output found for function call ${unanswered}.`;
}
