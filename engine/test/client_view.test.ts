import { type ModelServer, startModelServer } from '@september/model-server';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { execute } from './support/stream.ts';

/**
 * The client's view (E5, E15): whatever cuts its stream, at whatever byte, killed Engines included, what it has put
 * together by `Last-Event-ID` is to the byte what an uncut stream would have been.
 *
 * `CLIENT_VIEW_CUTS=1000 CLIENT_VIEW_SEED=1 vitest run engine/test/client_view.test.ts` takes more cuts, or the same
 * ones again.
 */
const CUTS = Number(process.env.CLIENT_VIEW_CUTS ?? 60);
const SEED = Number(process.env.CLIENT_VIEW_SEED ?? Date.now() % 1_000_000);

/** Bytes a connection lives, at most; an event has about 200. */
const MAX_BYTES = 3_000;
/** Of so many turns one is killed in the middle of its answer. */
const KILL_EVERY = 4;
const KILL_AFTER_CUTS = 4;

const random = seeded(SEED);
const below = (limit: number) => Math.floor(random() * limit);

let model: ModelServer;
let engine: Engine;
const folder = temporaryFolder();
const start = () =>
  startEngine(folder, {
    LLM_PROVIDER: 'anthropic',
    LLM_BASE_URL: `${model.url}/v1`,
    LLM_MODEL: 'claude-sonnet-4-5',
  });

beforeAll(async () => {
  model = await startModelServer();
  engine = await start();
});

afterAll(async () => {
  await engine.stop('SIGKILL');
  await model.close();
});

it(`is the same however it was cut, seed ${SEED}`, { timeout: 60_000 + CUTS * 1_000 }, async () => {
  let cuts = 0;
  for (let turn = 0; cuts < CUTS; turn++) {
    const task_id = `cut-${turn}`;
    const killed = turn % KILL_EVERY === 0;
    const begin = { text: 'Words of an answer with ünïcödé, 漢字 and more. '.repeat(30), chunks: 150 };
    if (killed) model.script({ steps: [begin, { until: new Promise(() => {}) }] });
    model.script(
      { steps: [begin, { tool: 'list_files', input: {} }] },
      { steps: [{ text: 'And that is all there is. '.repeat(8), chunks: 40 }] },
    );
    const seen = await takeInPieces(task_id, killed);
    cuts += seen.cuts;

    const answer = await engine.fetch(`/execute/replay?after=0&task_id=${task_id}`);
    const uncut = await answer.text();
    expect(seen.text).toBe(uncut);
    const ids = [...uncut.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
    expect(ids).toEqual(ids.map((_, index) => (ids[0] ?? 0) + index));
    expect(uncut).toContain('"phase":"completed"');
    expect(uncut.includes('"phase":"resumed"')).toBe(killed);
  }
});

/** A turn as a client sees it that loses its connection again and again. */
async function takeInPieces(task_id: string, killed: boolean): Promise<{ text: string; cuts: number }> {
  const body = { task_id, message: 'Say much.' };
  let text = '';
  for (let cuts = 0; ; cuts++) {
    const last = [...text.matchAll(/^id: (\d+)$/gm)].at(-1)?.[1] ?? '0';
    const headers = { 'Last-Event-ID': last };
    const leaving = new AbortController();
    const { signal } = leaving;
    const response =
      cuts === 0
        ? await execute(engine, body, { signal })
        : below(2) === 0
          ? await execute(engine, body, { signal, headers })
          : await engine.fetch(`/execute/replay?follow=true&task_id=${task_id}`, { signal, headers });
    expect(response.status).toBe(200);

    const dies = killed && cuts === KILL_AFTER_CUTS;
    const piece = await takeBytes(response, dies ? Number.POSITIVE_INFINITY : below(MAX_BYTES), () => {
      if (dies) engine.process.kill('SIGKILL');
    });
    text += wholeEvents(piece.text);
    if (piece.ended) return { text, cuts };
    leaving.abort();
    if (dies) {
      await engine.stop('SIGKILL');
      engine = await start();
    }
  }
}

/** Reads until so many bytes have come; `onBytes` is told of the first. */
async function takeBytes(
  response: Response,
  bytes: number,
  onBytes: () => void,
): Promise<{ text: string; ended: boolean }> {
  if (response.body === null) throw new Error('The answer has no body');
  const reader = response.body.getReader();
  const taken: Uint8Array[] = [];
  let left = bytes;
  try {
    while (left > 0) {
      const { done, value } = await reader.read();
      if (done) return { text: textOf(taken), ended: true };
      taken.push(value.subarray(0, left));
      left -= value.length;
      onBytes();
    }
  } catch (error) {
    // Only a killed Engine breaks a stream off.
    if (bytes !== Number.POSITIVE_INFINITY) throw error;
  }
  return { text: textOf(taken), ended: false };
}

/** A character that was cut is in an event that was cut. */
function textOf(pieces: Uint8Array[]): string {
  return Buffer.concat(pieces).toString('utf8');
}

/** What is not a whole event is no event; heartbeats belong to the connection. */
function wholeEvents(text: string): string {
  const whole = text.slice(0, text.lastIndexOf('\n\n') + 2);
  return whole.endsWith('\n\n') ? whole.replaceAll(/id: \d+\nevent: heartbeat\ndata: .*\n\n/g, '') : '';
}

/** Mulberry32: numbers from 0 to 1, the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
