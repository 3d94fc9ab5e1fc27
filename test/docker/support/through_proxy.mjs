/**
 * Runs in a container with a reverse proxy, whose command line is given: a program stands where the orchestrator does and
 * another where an engine does, each streams two events, the second only after the first has come through. Prints what came.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a proxy may take to come up, tries of 100 ms. */
const TRIES = 200;

let goOn = () => {};
for (const [port, name] of [
  [8000, 'orchestrator'],
  [9001, 'engine'],
]) {
  createServer(async (asked, answer) => {
    if (asked.url === '/go?on=1') {
      goOn();
      answer.end();
      return;
    }
    const go = new Promise((resolve) => {
      goOn = resolve;
    });
    answer.writeHead(200, { 'Content-Type': 'text/event-stream' });
    answer.write(`data: ${name} ${asked.method} ${asked.url}\n\n`);
    await go;
    answer.end('data: the rest\n\n');
  }).listen(port, '127.0.0.1');
}

const [program, ...args] = process.argv.slice(2);
const proxy = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] });

async function call(host, path) {
  for (let tries = 1; ; tries++) {
    try {
      const asked = request({
        host: '127.0.0.1',
        port: 443,
        servername: host,
        headers: { Host: host },
        path,
        rejectUnauthorized: false,
      });
      asked.end();
      const [answer] = await once(asked, 'response');
      return answer;
    } catch (error) {
      if (tries === TRIES) throw error;
      await sleep(100);
    }
  }
}

for (const [host, before] of [
  [process.env.ORCH_DOMAIN, ''],
  [process.env.ENGINES_DOMAIN, '/9001'],
]) {
  const answer = await call(host, `${before}/stream?a=b`);
  // One reader for all of it: between two, what comes is lost.
  const pieces = answer[Symbol.asyncIterator]();
  const { value: first } = await pieces.next();
  console.log(`${host}: ${first.toString().trim()}`);
  (await call(host, `${before}/go?on=1`)).resume();
  for await (const rest of pieces) console.log(`${host}: ${rest.toString().trim()}`);
}
for (const path of ['/22/', '/8000/health', '/']) {
  const answer = await call(process.env.ENGINES_DOMAIN, path);
  answer.resume();
  console.log(`${path}: ${answer.statusCode}`);
}
proxy.kill();
process.exit(0);
