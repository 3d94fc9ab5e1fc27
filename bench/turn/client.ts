/**
 * The client of the turn benchmark: sends prepared bytes, and of the answer reads what it must. It speaks HTTP/1.0,
 * so that the body comes as it is and ends with the connection; the pieces the model wrote are found in any stream,
 * the Engine's or the model's own, by the times they carry.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import { answerParent } from '../support/child.ts';
import { micros } from '../support/clock.ts';

export type ClientQuestion =
  /** One request after the other. */
  | { kind: 'turns'; url: string; requests: string[] }
  /** All requests at once; the events of each are counted by what every one holds once, `counted`. */
  | { kind: 'count'; url: string; requests: string[]; counted: string };

/** What was seen of one turn; milliseconds. */
export type SeenTurn = {
  /** From the request to the model being asked. */
  asked: number;
  /** Age of each piece when it was here. */
  ages: number[];
  /** From the written tool call to the next question to the model, without the tool's own time. */
  beside_tool: number | undefined;
  /** When it was over, Unix milliseconds. */
  ended_at: number;
};

/** `seconds`: from the first byte of the answer to its end. */
export type Counted = { events: number; seconds: number };

answerParent((question: ClientQuestion) =>
  question.kind === 'turns'
    ? turns(question.url, question.requests)
    : Promise.all(question.requests.map((request) => count(question.url, request, question.counted))),
);

async function turns(url: string, requests: string[]): Promise<SeenTurn[]> {
  const seen: SeenTurn[] = [];
  for (const request of requests) seen.push(await turn(url, request));
  return seen;
}

async function turn(url: string, request: string): Promise<SeenTurn> {
  const seen: SeenTurn = { asked: 0, ages: [], beside_tool: undefined, ended_at: 0 };
  let rest = '';
  let tool_ms = 0;
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
    .setNoDelay(true)
    .setEncoding('utf8');
  await once(socket, 'connect');
  const sent = micros();
  socket.write(request);
  socket.on('data', (chunk: string) => {
    const here = micros();
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const duration = /"duration_ms":(\d+)/.exec(line);
      if (duration !== null) tool_ms = Number(duration[1]);
      const first = /asked=(\d+) call=(\d+)/.exec(line);
      if (first !== null) {
        seen.asked = (Number(first[1]) - sent) / 1000;
        if (Number(first[2]) > sent)
          seen.beside_tool = (Number(first[1]) - Number(first[2])) / 1000 - tool_ms;
      }
      const written = /written=(\d+)/.exec(line);
      if (written !== null) seen.ages.push((here - Number(written[1])) / 1000);
    }
  });
  await once(socket, 'close');
  if (seen.ages.length === 0) throw new Error(`no answer came: ${rest}`);
  seen.ended_at = Date.now();
  return seen;
}

async function count(url: string, request: string, counted: string): Promise<Counted> {
  const needle = Buffer.from(counted);
  const socket = connect(Number(new URL(url).port), '127.0.0.1').setNoDelay(true);
  await once(socket, 'connect');
  socket.write(request);
  let events = 0;
  let began = 0;
  let rest: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk) => {
    if (began === 0) began = micros();
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let after = 0;
    for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, after)) {
      events += 1;
      after = at + needle.length;
    }
    rest = bytes.subarray(Math.max(after, bytes.length - needle.length + 1));
  });
  await once(socket, 'close');
  return { events, seconds: (micros() - began) / 1e6 };
}
