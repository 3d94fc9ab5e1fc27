/**
 * `npm run bench -- streams`: what many turns at once, readers that take nothing, and a thousand turns one after the
 * other do to the memory of an Engine, and that no event is lost for anybody (issue "The turn", done when 4 and 8).
 *
 * A turn's memory is that of its answer, read or not. So the same turns are run twice, each time on a fresh Engine: with
 * readers who read, and with readers who do not. What the second takes on top is what a stalled reader costs.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Child, startChild } from './support/child.ts';
import { liveHeap } from './support/live_heap.ts';
import { machine, writeReport } from './support/page.ts';
import type { Counted, SeenTurn } from './turn/client.ts';
import { type BenchedEngine, KEY, startEngine } from './turn/engine.ts';

const READ = 30;
const STALLED = 20;
/** Of a turn that is read. */
const PIECES = 2_048;
/** Of one that may stall; 8 KiB each, more than sockets hold for a reader that takes nothing. */
const HEAVY_PIECES = 1_024;
const WARM_UP_TURNS = 500;
const COUNTED_TURNS = 1_000;
const SETTLE_MS = 3_000;
const WATCH_MS = 50;
const NEEDLE = '"text":"word ';

const headers = `HTTP/1.0\r\nHost: bench\r\nX-Engine-Key: ${KEY}\r\n`;

function execute(task_id: string, message: string): string {
  const body = JSON.stringify({ message, task_id, direct: true });
  return `POST /execute ${headers}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

const replay = (task_id: string) =>
  `GET /execute/replay?after=0&follow=true&task_id=${task_id} ${headers}\r\n`;

export async function benchStreams(options: { quick: boolean }): Promise<void> {
  const model = startChild(new URL('./turn/model.ts', import.meta.url));
  const client = startChild(new URL('./turn/client.ts', import.meta.url));
  const model_url = await model.ask<string>('listen');
  try {
    const read = await onFreshEngine(model_url, (engine) => manyAtOnce(engine, client, false));
    const stalled = await onFreshEngine(model_url, (engine) => manyAtOnce(engine, client, true));
    const counted = options.quick ? 10 : COUNTED_TURNS;
    const one_by_one = await onFreshEngine(model_url, (engine) => oneByOne(engine, client, counted), {
      inspect: true,
    });
    const text = [
      `${READ + STALLED} turns at once, ${STALLED} of them of 8 MiB. All read: at most ${read.highest.toFixed(0)} MiB.`,
      `Those ${STALLED} not read at all: at most ${stalled.highest.toFixed(0)} MiB; ${stalled.complete} of the other ${READ} readers got every event,`,
      `and of ${stalled.found} of the ${STALLED} a replay found every event.`,
      `${counted.toLocaleString('en')} turns one after the other, after ${WARM_UP_TURNS} to warm up: ${shown(one_by_one.before)}, then ${shown(one_by_one.after)}.`,
      `Memory is resident memory, where not called live: that is the heap after a full collection. ${machine()}`,
    ].join(' ');
    console.log(text);
    if (!options.quick) await writeReport('streams', text);
  } finally {
    await Promise.all([model, client].map((child) => child.end()));
  }
}

async function onFreshEngine<Seen>(
  model_url: string,
  work: (engine: BenchedEngine) => Promise<Seen>,
  options?: { inspect: boolean },
): Promise<Seen> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-streams-'));
  const engine = await startEngine(folder, model_url, options);
  try {
    return await work(engine);
  } finally {
    await engine.end();
    await rm(folder, { recursive: true, force: true });
  }
}

/** @returns the most memory meanwhile, MiB; how many readers got every event; in how many heavy turns a replay found them. */
async function manyAtOnce(engine: BenchedEngine, client: Child, stall: boolean) {
  const count = (requests: string[]) =>
    client.ask<Counted[]>({ kind: 'count', url: engine.url, requests, counted: NEEDLE });
  let highest = 0;
  const watch = setInterval(() => {
    highest = Math.max(highest, resident(engine.pid));
  }, WATCH_MS);
  const heavy = Array.from({ length: STALLED }, (_, n) =>
    execute(`heavy-${n}`, `bench:heavy:${HEAVY_PIECES}`),
  );
  const light = Array.from({ length: READ }, (_, n) => execute(`light-${n}`, `bench:pour:${PIECES}`));
  const sockets = await Promise.all((stall ? heavy : []).map((request) => askAndStall(engine.url, request)));
  const counts = await count(stall ? light : [...light, ...heavy]);
  const found = await count(heavy.map((_, n) => replay(`heavy-${n}`)));
  clearInterval(watch);
  for (const socket of sockets) socket.destroy();
  const complete = counts.slice(0, READ).filter(({ events }) => events === PIECES).length;
  return { highest, complete, found: found.filter(({ events }) => events === HEAVY_PIECES).length };
}

async function askAndStall(url: string, request: string) {
  const socket = connect(Number(new URL(url).port), '127.0.0.1').pause();
  await once(socket, 'connect');
  socket.on('error', () => {});
  socket.write(request);
  return socket;
}

type Memory = { resident: number; live: number };

const shown = ({ resident, live }: Memory) => `${resident.toFixed(1)} MiB (${live.toFixed(1)} live)`;

/** @returns memory before and after `counted` turns, MiB. */
async function oneByOne(engine: BenchedEngine, client: Child, counted: number) {
  const turns = async (name: string, number: number): Promise<Memory> => {
    const requests = Array.from({ length: number }, (_, n) => execute(`${name}-${n}`, 'bench:paced:5:0'));
    await client.ask<SeenTurn[]>({ kind: 'turns', url: engine.url, requests });
    await delay(SETTLE_MS);
    return { resident: resident(engine.pid), live: await liveHeap(engine.inspector ?? '') };
  };
  return { before: await turns('warm-up', WARM_UP_TURNS), after: await turns('counted', counted) };
}

/** Resident memory of a process, MiB. */
function resident(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib) / 1024;
}
