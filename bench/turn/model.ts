/**
 * The model of the turn benchmark: answers in Anthropic's wire format, as the last message of the conversation says.
 *
 *   bench:paced:COUNT:MS  COUNT pieces, one every MS milliseconds, the first at once
 *   bench:pour:COUNT      COUNT pieces as fast as they are taken
 *   bench:heavy:COUNT     the same with pieces of 8 KiB
 *   bench:tool            a call of list_files, then a few words
 *   bench:agents:COUNT    COUNT calls of run_agent in one answer, each of which takes a second
 *
 * Every piece carries the time at which it was written, so that whoever reads it knows its age; the first one carries
 * the time at which the model was asked, and the words after a tool the time at which the call had been written.
 */
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { answerParent } from '../support/child.ts';
import { micros } from '../support/clock.ts';

const event = (type: string, fields: object) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;

const usage = { input_tokens: 10, output_tokens: 5 };
const message = { id: 'msg_bench', type: 'message', role: 'assistant', model: 'bench', content: [], usage };
const start = event('message_start', { message: { ...message, stop_reason: null, stop_sequence: null } });
const block = (content_block: object, index = 0) => event('content_block_start', { index, content_block });
const delta = (fields: object, index = 0) => event('content_block_delta', { index, delta: fields });
const text = (words: string) => delta({ type: 'text_delta', text: words });
const stop = (index = 0) => event('content_block_stop', { index });
const call = (index: number, name: string, input: object) =>
  block({ type: 'tool_use', id: `call_${index}`, name, input: {} }, index) +
  delta({ type: 'input_json_delta', partial_json: JSON.stringify(input) }, index) +
  stop(index);
const end = (stop_reason: string) =>
  event('message_delta', { delta: { stop_reason, stop_sequence: null }, usage }) + event('message_stop', {});

/** Pieces of a pour that are written at once; about what a socket takes. */
const POURED_AT_ONCE = 256;
const POURED = 'word ';
const HEAVY = POURED + 'x'.repeat(8_187);

/** What takes an agent a second: two pieces with so much between them. Each is another call. */
const aSecond = (index: number) => ({ agent: 'assistant', message: `${index}: bench:paced:2:1000` });

let call_written = 0;

answerParent(async () => {
  const server = createServer(async (incoming, response) => {
    const asked = micros();
    response.socket?.setNoDelay(true);
    let body = '';
    for await (const chunk of incoming.setEncoding('utf8')) body += chunk;
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const [, kind, count = '1', pace = '0'] =
      [...body.matchAll(/bench:(\w+)(?::(\d+))?(?::(\d+))?/g)].at(-1) ?? [];
    if (kind === 'tool' && !body.includes('tool_result')) {
      response.write(start + call(0, 'list_files', {}) + end('tool_use'));
      call_written = micros();
      response.end();
      return;
    }
    if (kind === 'agents') {
      const calls = Array.from({ length: Number(count) }, (_, n) => call(n, 'run_agent', aSecond(n)));
      response.end(start + calls.join('') + end('tool_use'));
      return;
    }
    response.write(start + block({ type: 'text', text: '' }));
    if (kind === 'pour') await pour(response, Number(count), text(POURED).repeat(POURED_AT_ONCE));
    else if (kind === 'heavy') await pour(response, Number(count), text(HEAVY).repeat(POURED_AT_ONCE));
    else {
      for (let piece = 0; piece < Number(count); piece++) {
        if (piece > 0) await delay(Number(pace));
        const first = piece === 0 ? `asked=${asked} call=${call_written} ` : '';
        response.write(text(`${first}written=${micros()} `));
      }
    }
    response.end(stop() + end('end_turn'));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : ''}`;
});

async function pour(response: ServerResponse, count: number, many: string): Promise<void> {
  for (let poured = 0; poured < count; poured += POURED_AT_ONCE) {
    if (!response.write(many)) await once(response, 'drain');
  }
}
