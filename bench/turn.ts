/**
 * `npm run bench -- turn`: what the Engine adds between a model and its client, with everything made durable before it
 * is shown (issue "The turn"; engine-runtime, "Durability and resume").
 *
 * The floor is a proxy that pipes the same model's bytes to the same client. Both are asked in turns, round after round,
 * and only figures of one round are compared. Everything stands in processes of its own, as it would in earnest, and the
 * Engine is the real program with its brain on the disk. What a flush of that disk takes by itself is measured in the
 * same round: nothing can be durable sooner.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startChild } from './support/child.ts';
import { quantile } from './support/measure.ts';
import type { ClientQuestion, Counted, SeenTurn } from './turn/client.ts';
import { KEY, startEngine } from './turn/engine.ts';
import { type TurnRound, writeTurnReport } from './turn/report.ts';

const ROUNDS = 5;
const FLUSHES = 200;
const TURNS = 60;
/** One piece every so often is what a quick model gives. */
const PACED = 'bench:paced:10:10';
const TOOL = 'bench:tool';
const POURED = 102_400;
/** Turns at once whose events lie in the brain one by one, as they do where many models write slowly. */
const SLOW_TURNS = 50;
const SLOW = 'bench:paced:200:10';

/** Calls in one answer, each of which takes a second. */
const SIDE_BY_SIDE = 10;

/** A clock tick of /proc, seconds; the same on every Linux. */
const TICK_S = 0.01;

export async function benchTurn(options: { quick: boolean }): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-turn-'));
  const model = startChild(new URL('./turn/model.ts', import.meta.url));
  const proxy = startChild(new URL('./support/proxy.ts', import.meta.url));
  const client = startChild(new URL('./turn/client.ts', import.meta.url));
  const model_url = await model.ask<string>('listen');
  const proxy_url = await proxy.ask<string>(`${model_url}/v1/messages`);
  const engine = await startEngine(folder, model_url);
  const ask = <Answer>(question: ClientQuestion) => client.ask<Answer>(question);
  let tasks = 0;
  const asked = (message: string, task_id = `task-${++tasks}`) => {
    const body = JSON.stringify({ message, task_id, direct: true });
    return `POST /execute HTTP/1.0\r\nHost: bench\r\nX-Engine-Key: ${KEY}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  };
  const replay = (query: string) =>
    `GET /execute/replay?${query} HTTP/1.0\r\nHost: bench\r\nX-Engine-Key: ${KEY}\r\n\r\n`;
  const count = async (url: string, request: string, counted: string) => {
    const [seen] = await ask<Counted[]>({ kind: 'count', url, requests: [request], counted });
    if (seen === undefined) throw new Error('nothing was counted');
    return seen;
  };

  try {
    const rounds: TurnRound[] = [];
    for (let round = 0; round < (options.quick ? 1 : ROUNDS); round += 1) {
      const turns = (url: string, message: string) =>
        ask<SeenTurn[]>({
          kind: 'turns',
          url,
          requests: Array.from({ length: TURNS }, () => asked(message)),
        });
      const through_proxy = await turns(proxy_url, PACED);
      const through_engine = await turns(engine.url, PACED);
      const with_tool = await turns(engine.url, TOOL);

      const poured_proxy = await count(proxy_url, asked(`bench:pour:${POURED}`), '"text":"word "');
      const cpu = cpuSeconds(engine.pid);
      const poured = await count(
        engine.url,
        asked(`bench:pour:${POURED}`, `poured-${round}`),
        '"text":"word "',
      );
      const cpu_s = cpuSeconds(engine.pid) - cpu;
      const replayed = await count(engine.url, replay(`after=0&task_id=poured-${round}`), '\nevent: ');

      const [newest] = await ask<SeenTurn[]>({
        kind: 'turns',
        url: engine.url,
        requests: [asked('bench:paced:1:0')],
      });
      await Promise.all(
        Array.from({ length: SLOW_TURNS }, () => drainTurn(engine.url, asked(SLOW, `slow-${++tasks}`))),
      );
      const one_by_one = await count(engine.url, replay(`after=${newest?.ended_at}`), '\nevent: ');

      if (poured.events !== POURED || poured_proxy.events !== POURED || replayed.events < POURED)
        throw new Error('events are missing');
      const toolTime = (calls: number) =>
        secondsInTools(engine.url, asked(`bench:agents:${calls}`, `agents-${++tasks}`));
      rounds.push({
        one_call: await toolTime(1),
        side_by_side: await toolTime(SIDE_BY_SIDE),
        flush: await flushes(join(folder, 'flushed')),
        proxy: latencies(through_proxy),
        engine: latencies(through_engine),
        beside_tool: with_tool.flatMap(({ beside_tool }) => beside_tool ?? []),
        poured_proxy: poured_proxy.events / poured_proxy.seconds,
        poured: poured.events / poured.seconds,
        poured_per_cpu_s: poured.events / cpu_s,
        replayed: replayed.events / replayed.seconds,
        replayed_one_by_one: one_by_one.events / one_by_one.seconds,
      });
      console.log(shown(rounds.at(-1)));
    }
    if (!options.quick) await writeTurnReport(rounds);
  } finally {
    await engine.end();
    await Promise.all([model, proxy, client].map((child) => child.end()));
    await rm(folder, { recursive: true, force: true });
  }
}

function latencies(turns: SeenTurn[]): TurnRound['engine'] {
  return {
    asked: turns.map(({ asked }) => asked),
    first: turns.flatMap(({ ages }) => ages.slice(0, 1)),
    event: turns.flatMap(({ ages }) => ages.slice(1)),
  };
}

/** What it takes to have a page appended to a file and on the disk; milliseconds. */
async function flushes(path: string): Promise<number[]> {
  const file = await open(path, 'a');
  const taken: number[] = [];
  for (let n = 0; n < FLUSHES; n += 1) {
    await file.write(Buffer.alloc(4_096, n));
    const began = performance.now();
    await file.datasync();
    taken.push(performance.now() - began);
  }
  await file.close();
  return taken;
}

/** From the first call of a turn to its last result, by the Engine's own clock. */
async function secondsInTools(url: string, request: string): Promise<number> {
  const times = (type: string, events: string) =>
    [...events.matchAll(/^data: (\{"type":"(\w+)".*)$/gm)]
      .filter(([, , name]) => name === type)
      .map(([, data = '']): { timestamp: string } => JSON.parse(data))
      .map(({ timestamp }) => Date.parse(timestamp));
  const events = await drainTurn(url, request);
  return (Math.max(...times('tool_result', events)) - Math.min(...times('tool_call', events))) / 1000;
}

/** A turn that is read to its end, whatever it says. @returns its events as they came. */
async function drainTurn(url: string, request: string): Promise<string> {
  const [head = '', body = ''] = request.split('\r\n\r\n');
  const answer = await fetch(`${url}${head.split(' ')[1]}`, {
    method: 'POST',
    headers: { 'X-Engine-Key': KEY, 'Content-Type': 'application/json' },
    body,
  });
  return await answer.text();
}

/** What a process has used of all cores so far. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) * TICK_S;
}

function shown(round: TurnRound | undefined): string {
  if (round === undefined) return '';
  const of = (values: number[]) => {
    const ascending = values.toSorted((a, b) => a - b);
    return `${quantile(ascending, 0.5).toFixed(2)}/${quantile(ascending, 0.95).toFixed(2)}`;
  };
  return [
    `flush ${of(round.flush)} ms`,
    ...(['asked', 'first', 'event'] as const).map(
      (what) => `${what} ${of(round.engine[what])} (proxy ${of(round.proxy[what])}) ms`,
    ),
    `beside the tool ${of(round.beside_tool)} ms`,
    `a call of 1 s ${round.one_call.toFixed(2)} s, ${SIDE_BY_SIDE} in one answer ${round.side_by_side.toFixed(2)} s`,
    `poured ${Math.round(round.poured)}/s (proxy ${Math.round(round.poured_proxy)}/s, per CPU second ${Math.round(round.poured_per_cpu_s)})`,
    `replayed ${Math.round(round.replayed)}/s, one by one ${Math.round(round.replayed_one_by_one)}/s`,
  ].join(' · ');
}
