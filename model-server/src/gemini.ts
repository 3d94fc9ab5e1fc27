import { sign } from './sign.ts';
import {
  type Answer,
  type Failure,
  isObject,
  type Json,
  objects,
  parseJson,
  sse,
  type Wire,
} from './wire.ts';

/** Gemini generateContent, streamed: https://ai.google.dev/api/generate-content#v1beta.models.streamGenerateContent */
export const gemini: Wire = {
  name: 'gemini',
  path: /^\/v1beta\/models\/([^/:]+):streamGenerateContent\?alt=sse$/,
  refusal: (body, _headers, path) =>
    formatRefusal(body, modelOf(path)) ?? contentsRefusal(objects(body.contents), modelOf(path)),
  error,
  answer: (_body, path) => answer(modelOf(path)),
};

const modelOf = (path: string) => gemini.path.exec(path)?.[1] ?? '';

const STATUS_NAMES: Record<number, string> = {
  400: 'INVALID_ARGUMENT',
  401: 'UNAUTHENTICATED',
  403: 'PERMISSION_DENIED',
  404: 'NOT_FOUND',
  429: 'RESOURCE_EXHAUSTED',
  500: 'INTERNAL',
  503: 'UNAVAILABLE',
  504: 'DEADLINE_EXCEEDED',
};

/** Gemini tells how long to wait in the body (google.rpc.RetryInfo), not in a header. */
function error(failure: Failure): ReturnType<Wire['error']> {
  if ('context_overflow' in failure) {
    const message = 'The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).';
    return error({ status: 400, message });
  }
  // Gemini says overloaded with 503; 529 is Anthropic's own.
  const code = failure.status === 529 ? 503 : failure.status;
  const details =
    failure.retry_after_s === undefined
      ? undefined
      : [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: `${failure.retry_after_s}s` }];
  const message = failure.message ?? `Scripted error ${code}.`;
  return {
    status: code,
    headers: {},
    body: { error: { code, message, status: STATUS_NAMES[code] ?? 'UNKNOWN', details } },
  };
}

const FINISH = { end_turn: 'STOP', tool_use: 'STOP', max_tokens: 'MAX_TOKENS' };

function answer(model: string): Answer {
  let called = false;
  const chunk = (parts: Json[], candidate: Json = {}, fields: Json = {}) =>
    sse({
      candidates: [{ content: { role: 'model', parts }, index: 0, ...candidate }],
      modelVersion: model,
      responseId: 'scripted',
      ...fields,
    });

  return {
    begin: () => [],
    text: (pieces) => pieces.map((text) => chunk([{ text }])),
    thinking: (pieces) => pieces.map((text) => chunk([{ text, thought: true }])),
    tool: ({ id, name, fragments }) => {
      const whole = parseJson(fragments.join(''));
      const functionCall = { id, name, args: isObject(whole) ? whole : {} };
      // Of parallel calls only the first is signed.
      const proof = called ? {} : { thoughtSignature: signCall(functionCall) };
      called = true;
      return [chunk([{ functionCall, ...proof }])];
    },
    overloaded: () => [
      sse({
        error: {
          code: 503,
          message: 'The model is overloaded. Please try again later.',
          status: 'UNAVAILABLE',
        },
      }),
    ],
    finish: (reason, { input_tokens, output_tokens, cache_hit_tokens }) => {
      const usageMetadata = {
        promptTokenCount: input_tokens,
        candidatesTokenCount: output_tokens,
        totalTokenCount: input_tokens + output_tokens,
        cachedContentTokenCount: cache_hit_tokens,
      };
      // An answer without calls carries its signature in an empty text at its end.
      const last = called ? { text: '' } : { text: '', thoughtSignature: sign('text') };
      return [chunk([last], { finishReason: FINISH[reason] }, { usageMetadata })];
    },
  };
}

const signCall = (call: Json) => sign(JSON.stringify([call.name, call.args]));

/** Before Gemini 3 a call has tools or an answer by schema, not both. */
function formatRefusal({ generationConfig, tools }: Json, model: string): string | undefined {
  const json = isObject(generationConfig) && generationConfig.responseMimeType === 'application/json';
  if (!json || objects(tools).length === 0 || model.startsWith('gemini-3')) return undefined;
  return "Function calling with a response mime type: 'application/json' is unsupported";
}

/** A turn of function calls is answered by one turn with as many responses, in the same order of names. */
function contentsRefusal(contents: Json[], model: string): string | undefined {
  if (contents.length === 0) return 'GenerateContentRequest.contents: contents is not specified';
  const lastQuestion = contents.findLastIndex(
    (content) => content.role === 'user' && responses(content).length === 0,
  );

  for (const [index, content] of contents.entries()) {
    if (content.role !== 'user' && content.role !== 'model') return 'Please use a valid role: user, model.';
    if (objects(content.parts).length === 0) {
      return `GenerateContentRequest.contents[${index}].parts: contents.parts must not be empty.`;
    }
    const calls = functionCalls(content);
    const previousCalls = functionCalls(contents[index - 1]);
    if (calls.length > 0 && contents[index - 1]?.role !== 'user') {
      return 'Please ensure that function call turn comes immediately after a user turn or after a function response turn.';
    }
    if (calls.length > 0 && contents[index + 1] === undefined) {
      return 'Please ensure that function call turn is followed by a function response turn.';
    }
    if (names(responses(content)).join() !== names(previousCalls).join()) {
      return 'Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn.';
    }
    // Gemini 3 wants the signature back on the first call of each step of the turn that is under way.
    const [first] = objects(content.parts).filter((part) => isObject(part.functionCall));
    if (!model.startsWith('gemini-3') || index < lastQuestion || !first || !isObject(first.functionCall)) {
      continue;
    }
    if (first.thoughtSignature === undefined) {
      return `Function call is missing a thought_signature in functionCall parts. position ${index}`;
    }
    if (first.thoughtSignature !== signCall(first.functionCall)) return 'Corrupted thought signature.';
  }
  return undefined;
}

const named = (content: Json | undefined, key: string) =>
  objects(content?.parts)
    .map((part) => part[key])
    .filter(isObject);
const functionCalls = (content: Json | undefined) => named(content, 'functionCall');
const responses = (content: Json | undefined) => named(content, 'functionResponse');
const names = (parts: Json[]) => parts.map((part) => part.name);
