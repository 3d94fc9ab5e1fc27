import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { anthropic } from './anthropic.ts';
import { gemini } from './gemini.ts';
import { openaiChat } from './openai_chat.ts';
import { openaiResponses } from './openai_responses.ts';
import type { ModelServer, ReceivedRequest, Reply, Step } from './script.ts';
import { type Answer, isObject, parseJson, type Wire } from './wire.ts';

/**
 * A provider that answers what a test tells it to, over real sockets. Plain node:http and no framework,
 * because the point is control over every byte: which write comes when, where a socket dies, what is not JSON.
 *
 * It is strict about what it is asked: a conversation the real provider would refuse (a tool call without its
 * result, a changed signature) is refused here in the same words, so that a wrong conversion fails a test.
 */
const WIRES: Wire[] = [anthropic, openaiChat, openaiResponses, gemini];

/** Starts the server on a free loopback port. Keys are recorded, never checked. */
export async function startModelServer(): Promise<ModelServer> {
  const queue: Reply[] = [];
  let respond: ((request: ReceivedRequest) => Reply) | undefined;
  const requests: ReceivedRequest[] = [];
  let calls = 0;
  /** Unique over all answers, as a conversation puts many of them together. */
  const newCallId = () => `call_${++calls}`;

  const server = createServer(async (incoming, response) => {
    const path = incoming.url ?? '/';
    const wire = WIRES.find((candidate) => incoming.method === 'POST' && candidate.path.test(path));
    if (wire === undefined) {
      return sendJson(response, 404, {}, { error: { message: `no such endpoint: ${path}` } });
    }

    response.socket?.setNoDelay(true);
    const body = await readBody(incoming);
    const left = once(response, 'close').then(() => (response.writableFinished ? 'complete' : 'client_left'));
    const { promise: cut, resolve: wasCut } = Promise.withResolvers<'cut'>();
    const ended = Promise.race([cut, left]);
    const request = { wire: wire.name, path, headers: flatHeaders(incoming), body, ended };
    requests.push(request);

    const refused = wire.refusal(body, incoming.headers, path);
    if (refused !== undefined) return sendError(response, wire, { status: 400, message: refused });
    const reply = queue.shift() ?? respond?.(request);
    if (reply === undefined) {
      return sendError(response, wire, { status: 500, message: 'The script has no reply left.' });
    }
    if ('silent' in reply) return;
    if (!('steps' in reply)) return sendError(response, wire, reply);

    const outcome = await play(reply, wire.answer(body, path), newCallId, response);
    if (outcome === 'cut') {
      wasCut('cut');
      response.destroy();
    } else response.end();
  });

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    script: (...replies) => void queue.push(...replies),
    answer(by) {
      respond = by;
    },
    requests,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

type Streamed = Extract<Reply, { steps: Step[] }>;

/** Writes the answer; says whether the body is to end in good order or in a cut. */
async function play(
  reply: Streamed,
  answer: Answer,
  newCallId: () => string,
  response: ServerResponse,
): Promise<'end' | 'cut'> {
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
  });
  const gone = once(response, 'close');

  /** Each chunk is handed to the socket before the next is written, so that none is glued to another here. */
  const write = async (chunks: string[]) => {
    for (const chunk of chunks) {
      if (response.destroyed) return;
      await Promise.race([new Promise<void>((written) => response.write(chunk, () => written())), gone]);
    }
  };

  await write(answer.begin());
  for (const step of reply.steps) {
    if ('text' in step) await write(answer.text(pieces(step.text, step.chunks)));
    else if ('thinking' in step) await write(answer.thinking(pieces(step.thinking, step.chunks)));
    else if ('tool' in step) {
      const input = typeof step.input === 'string' ? step.input : JSON.stringify(step.input);
      const fragments = pieces(input, step.fragments ?? 3);
      await write(answer.tool({ id: step.id ?? newCallId(), name: step.tool, fragments }));
    } else if ('until' in step) await Promise.race([step.until.catch(() => undefined), gone]);
    else if ('malformed' in step) await write(['data: {"type": "broken\n\n']);
    else if ('cut' in step) return 'cut';
    else if ('stop' in step) return 'end';
    else {
      await write(answer.overloaded());
      return 'end';
    }
  }
  const usage = { input_tokens: 10, output_tokens: 5, cache_hit_tokens: 0, ...reply.usage };
  const called = reply.steps.some((step) => 'tool' in step);
  await write(answer.finish(reply.stop_reason ?? (called ? 'tool_use' : 'end_turn'), usage));
  return 'end';
}

/** `count` pieces of about equal length, or a piece per word; joined they give `text` again. */
function pieces(text: string, count?: number): string[] {
  if (count === undefined) return text.match(/\s*\S+\s*$|\s*\S+/g) ?? [text];
  const size = Math.max(1, Math.ceil(text.length / count));
  return text.match(new RegExp(`[^]{1,${size}}`, 'g')) ?? [text];
}

function sendError(response: ServerResponse, wire: Wire, failure: Parameters<Wire['error']>[0]): void {
  const { status, headers, body } = wire.error(failure);
  sendJson(response, status, headers, body);
}

function sendJson(
  response: ServerResponse,
  status: number,
  headers: Record<string, string>,
  body: unknown,
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

async function readBody(incoming: IncomingMessage): Promise<Record<string, unknown>> {
  let text = '';
  for await (const chunk of incoming.setEncoding('utf8')) text += chunk;
  const body = parseJson(text);
  return isObject(body) ? body : {};
}

function flatHeaders(incoming: IncomingMessage): Record<string, string> {
  return Object.fromEntries(Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]));
}
