/**
 * Containers of engines: found by their label, acted on by their id.
 *
 * By id, because a name says nothing about whom one hits: between a look and an act a later start may have put its own
 * container under the same name. And found through the daemon's list, not by inspecting: the list answers also while
 * the daemon is busy with that container for minutes.
 */
import { z } from 'zod';
import type { EngineExitReport } from '../contract.ts';
import { lastMessage } from '../engine_log.ts';
import { type DockerApi, isDocker } from './api.ts';
import type { Marks } from './marks.ts';
import { LABEL } from './names.ts';

/** Beyond the grace an engine gets, for the daemon itself to be done with it, milliseconds. */
const STOP_MARGIN_MS = 15_000;
/** How long the daemon may take to read the end of a log, milliseconds. */
const LOG_LIMIT_MS = 2_000;
/** Exit codes above it are signals, the number on top. */
const SIGNALLED = 128;
/** The names of the numbers that engines really end by. */
const SIGNALS: Record<number, string> = {
  2: 'SIGINT',
  6: 'SIGABRT',
  7: 'SIGBUS',
  9: 'SIGKILL',
  11: 'SIGSEGV',
  15: 'SIGTERM',
};

/** The state of a container that is no engine but copies the data of one. */
export const COPYING = 'copying';

const Listed = z.object({
  Id: z.string(),
  State: z.string(),
  Labels: z.record(z.string(), z.string()),
});
const ListedAll = z.array(Listed);

const Inspected = z.object({
  RestartCount: z.int(),
  State: z.object({
    Status: z.string(),
    ExitCode: z.int(),
    OOMKilled: z.boolean(),
    StartedAt: z.string(),
    FinishedAt: z.string(),
  }),
});
export type Inspected = z.infer<typeof Inspected>;

export type Container = {
  id: string;
  engine_id: string;
  /** In Docker's words, or `COPYING`. */
  state: string;
  /** What its label says; NaN where that cannot be read. */
  labelled_epoch: number;
  port: number;
};

/** Its epoch: a thaw may have given it a higher one than it was made with. */
export const epochOf = ({ id, labelled_epoch }: Container, { thawed }: Pick<Marks, 'thawed'>): number =>
  Math.max(labelled_epoch, thawed.get(id) ?? 0);

export type Containers = {
  /** The container of an engine, in whatever state. */
  find(engine_id: string): Promise<Container | null>;
  /** Of all engines of this installation. */
  all(): Promise<Container[]>;
  inspect(id: string): Promise<Inspected>;
  pause(id: string): Promise<void>;
  /** Fine if it is not paused, or not there. */
  unpause(id: string): Promise<void>;
  /** Ends it: SIGTERM, after `grace_s` seconds SIGKILL. It stays, with its log; one that never ran is removed. */
  end(container: Container, grace_s: number): Promise<void>;
  /** Removes it, running or not; fine if it is gone. */
  remove(id: string): Promise<void>;
  /** How its last run ended: `exit_code`, where it is known from elsewhere. */
  report(id: string, exit_code?: number): Promise<EngineExitReport>;
};

export function openContainers(docker: DockerApi, network: string): Containers {
  async function list(label: string): Promise<Container[]> {
    const query = { all: true, filters: JSON.stringify({ label: [label] }) };
    const listed = ListedAll.parse(await docker.call({ method: 'GET', path: '/containers/json', query }));
    return listed.map(({ Id, State, Labels }) => ({
      id: Id,
      engine_id: Labels[LABEL.engine_id] ?? '',
      state: Labels[LABEL.copying] === undefined ? State : COPYING,
      labelled_epoch: Number(Labels[LABEL.epoch] ?? Number.NaN),
      port: Number(Labels[LABEL.port]),
    }));
  }

  const act = (
    id: string,
    what: string,
    options: { query?: Record<string, number>; limit_ms?: number } = {},
  ) => docker.call({ method: 'POST', path: `/containers/${id}/${what}`, ...options });

  async function inspect(id: string): Promise<Inspected> {
    return Inspected.parse(await docker.call({ method: 'GET', path: `/containers/${id}/json` }));
  }

  async function unpause(id: string): Promise<void> {
    try {
      await act(id, 'unpause');
    } catch (error) {
      if (isDocker(error, 'gone')) return;
      // Docker 20.10 calls it an error of its own where there is nothing to do.
      const { State } = await inspect(id);
      if (State.Status === 'paused') throw error;
    }
  }

  async function remove(id: string): Promise<void> {
    await docker
      .call({ method: 'DELETE', path: `/containers/${id}`, query: { force: true } })
      .catch(fineIf('gone'));
  }

  async function lastWords(id: string): Promise<string | null> {
    const query = { stdout: true, stderr: true, tail: 1 };
    const path = `/containers/${id}/logs`;
    const answer = await docker.call({ method: 'GET', path, query, limit_ms: LOG_LIMIT_MS });
    return Buffer.isBuffer(answer) ? lastMessage(linesOf(answer)) : null;
  }

  return {
    async find(engine_id) {
      return (await list(`${LABEL.engine_id}=${engine_id}`))[0] ?? null;
    },
    all: () => list(`${LABEL.network}=${network}`),
    inspect,
    pause: async (id) => void (await act(id, 'pause').catch(fineIf('conflict'))),
    unpause,
    async end({ id, state }, grace_s) {
      if (state === 'created') return await remove(id);
      if (state === 'exited' || state === 'dead') return;
      // A paused one would not hear it. What state means may be beyond us; then too it is to end.
      if (state !== 'running' && state !== 'restarting')
        await unpause(id).catch(fineIf('gone', 'unavailable'));
      const limit_ms = grace_s * 1000 + STOP_MARGIN_MS;
      await act(id, 'stop', { query: { t: Math.ceil(grace_s) }, limit_ms }).catch(fineIf('gone'));
      // The list is brought up to date a moment after the stop is answered; who inspects waits for that.
      await inspect(id).catch(fineIf('gone', 'unavailable'));
    },
    remove,
    async report(id, exit_code) {
      const { State } = await inspect(id);
      const words = State.OOMKilled
        ? OUT_OF_MEMORY
        : await lastWords(id).catch(nullIf('gone', 'unavailable'));
      return exitReport(exit_code ?? State.ExitCode, words);
    },
  };
}

/** Docker's exit code as the contract tells it. */
export function exitReport(exit_code: number, last_words: string | null): EngineExitReport {
  if (exit_code <= SIGNALLED) return { code: exit_code, signal: null, last_words };
  const number = exit_code - SIGNALLED;
  return { code: null, signal: SIGNALS[number] ?? `signal ${number}`, last_words };
}

const OUT_OF_MEMORY = 'It was killed: it took more memory than ORCH_ENGINE_MEMORY_MB allows.';

const fineIf =
  (...kinds: Parameters<typeof isDocker>[1][]) =>
  (error: unknown): void => {
    if (!isDocker(error, ...kinds)) throw error;
  };

const nullIf =
  (...kinds: Parameters<typeof isDocker>[1][]) =>
  (error: unknown): null => {
    if (!isDocker(error, ...kinds)) throw error;
    return null;
  };

/** The daemon's log in frames: a header of eight bytes, the last four of them the length, then so many bytes. */
function linesOf(frames: Buffer): string {
  const pieces: Buffer[] = [];
  for (let at = 0; at + 8 <= frames.length; ) {
    const length = frames.readUInt32BE(at + 4);
    pieces.push(frames.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return Buffer.concat(pieces).toString('utf8');
}
