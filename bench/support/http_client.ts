/**
 * One HTTP connection of a load generator. Node's own client takes about as long for a request as the servers
 * that are measured here, and would be what is measured on a machine with two cores; so this one writes
 * prepared bytes to a socket and reads of the answer what it must: status, length, body.
 */
import { once } from 'node:events';
import { connect } from 'node:net';

export type HttpConnection = {
  /** Sends the bytes of a whole request; gives the body of its answer. Throws where that is not a 200. */
  ask(request: string): Promise<string>;
  close(): void;
};

const HEAD_END = '\r\n\r\n';

export async function openConnection(url: URL): Promise<HttpConnection> {
  const socket = connect(Number(url.port), url.hostname).setNoDelay(true).setEncoding('latin1');
  await once(socket, 'connect');
  let waiting: PromiseWithResolvers<string> | undefined;
  let received = '';
  const fail = (error: Error) => waiting?.reject(error);
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the server closed the connection')));
  socket.on('data', (chunk) => {
    received += chunk;
    const head_end = received.indexOf(HEAD_END);
    if (head_end < 0) return;
    const head = received.slice(0, head_end);
    const length = /^content-length: (\d+)$/im.exec(head)?.[1];
    if (length === undefined) return fail(new Error(`an answer without a length: ${head}`));
    const body = received.slice(head_end + HEAD_END.length);
    if (body.length < Number(length)) return;
    received = '';
    if (head.startsWith('HTTP/1.1 200 ')) waiting?.resolve(body);
    else fail(new Error(`${head}\n${body}`));
  });
  return {
    ask(request) {
      waiting = Promise.withResolvers();
      socket.write(request, 'latin1');
      return waiting.promise;
    },
    close: () => socket.destroy(),
  };
}
