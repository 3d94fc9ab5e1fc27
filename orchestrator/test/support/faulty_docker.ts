/** A Docker daemon that misbehaves: a proxy before the real one, which may answer in its place, hang, cut, or lie. */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { socketOf } from './docker.ts';

export type Fault =
  | { answer: number; message?: string }
  /** Never comes back. */
  | 'hang'
  /** Breaks the connection instead of an answer; with `done` after the daemon has done what was asked. */
  | { cut: 'before' | 'done' }
  /** Changes the daemon's answer. */
  | { rewrite(body: string): string };

/** What to do with a call; null: hand it on. */
export type Rule = (method: string, path: string) => Fault | null;

/** Listens in `folder`. `rules` may be changed at any time; the first that says something counts. */
export async function faultyDocker(folder: string, host: string) {
  const rules = new Set<Rule>();
  const server = createServer((incoming, outgoing) => {
    const { method = '', url = '' } = incoming;
    let fault: Fault | null = null;
    for (const rule of rules) fault ??= rule(method, decodeURIComponent(url));
    if (fault === 'hang') return;
    if (fault !== null && 'answer' in fault) {
      outgoing.writeHead(fault.answer, { 'content-type': 'application/json' });
      outgoing.end(JSON.stringify({ message: fault.message ?? 'as the test wants it' }));
    } else if (fault !== null && 'cut' in fault && fault.cut === 'before') incoming.socket.destroy();
    else handOn(incoming, outgoing, host, fault);
  });
  const path = join(folder, `docker-${Math.random().toString(36).slice(2)}.sock`);
  await new Promise<void>((resolve) => void server.listen(path, resolve));
  return {
    host: `unix://${path}`,
    /** Gives the way to take it back. */
    add(rule: Rule) {
      rules.add(rule);
      return () => void rules.delete(rule);
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function handOn(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  host: string,
  fault: Fault | null,
): void {
  const { method, url: path, headers } = incoming;
  const handed = request({ socketPath: socketOf(host), method, path, headers, agent: false }, (response) => {
    if (fault === null) {
      outgoing.writeHead(response.statusCode ?? 500, response.headers);
      outgoing.flushHeaders();
      response.pipe(outgoing);
      return;
    }
    let body = '';
    response.on('data', (chunk) => {
      body += chunk;
    });
    response.on('end', () => {
      if (typeof fault === 'object' && 'rewrite' in fault) {
        outgoing.writeHead(response.statusCode ?? 500, { 'content-type': 'application/json' });
        outgoing.end(fault.rewrite(body));
      } else incoming.socket.destroy();
    });
  });
  handed.on('error', () => incoming.socket.destroy());
  outgoing.on('close', () => handed.destroy());
  incoming.pipe(handed);
}
