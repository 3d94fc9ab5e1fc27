/**
 * The floor of the turn benchmark: the least that can stand between a client and a model. It hands on the request
 * and pipes the answer back, byte for byte; it keeps nothing, reads nothing and makes nothing durable.
 */
import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import { answerParent } from './child.ts';

const agent = new Agent({ keepAlive: true });

answerParent(async (target: string) => {
  const server = createServer((incoming, response) => {
    const upstream = request(target, { method: incoming.method ?? 'POST', agent }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, { 'content-type': 'text/event-stream' });
      answer.pipe(response);
    });
    incoming.pipe(upstream);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : ''}`;
});
