/**
 * Engines as processes of this machine, for development and tests.
 *
 * An engine lives in `{root}/{engine_id}/`, mode 0700: `brain.sqlite`, `workspace/`, `engine.log`,
 * `process.json`. Its process leads a session and a group of its own, so neither a Ctrl-C in the terminal
 * nor the death of the orchestrator reaches it; it is found again through `process.json`.
 *
 * The orchestrator may die between starting a process and writing that file. For this case the process
 * carries its engine id, epoch and port as an argument, which only serves to be found: whoever is about to
 * start an engine looks for one first. Source: bap-engine §8, O12, O22.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EngineEnvironment } from '@september/contract';
import { z } from 'zod';
import type { Backend, EngineExitReport, EngineSpec, Presence } from './contract.ts';
import { STOP_GRACE_S } from './contract.ts';
import { lastWords, limitLog } from './engine_log.ts';
import {
  findByArgument,
  freeze as freezeProcess,
  isAlive,
  isFrozen,
  isSystemError,
  startOf,
  terminate,
  thaw as thawProcess,
} from './process.ts';

const HOST = '127.0.0.1';
/** Largest log of an engine, bytes; with the one before it twice that. */
const MAX_LOG_BYTES = 10 * 2 ** 20;
/** How often the logs are measured, milliseconds. */
const LOG_CHECK_MS = 10_000;

/** `process.json`: which process runs the engine. */
const ProcessRecord = z.object({
  pid: z.int().positive(),
  /** The moment it started, see process.ts. */
  started: z.string(),
  epoch: z.int().positive(),
  port: z.int().positive(),
});
type ProcessRecord = z.infer<typeof ProcessRecord>;

export type SubprocessOptions = {
  /** Folder of all engines, absolute. */
  root: string;
  /** Program of the Engine, absolute; it runs under the same Node as the orchestrator. */
  entry: string;
  /** Catalog that engines read, absolute. */
  catalog_dir: string;
  /** Hears of logs that could not be limited. */
  onError(error: unknown): void;
  max_log_bytes?: number;
  log_check_ms?: number;
};

export function subprocessBackend(options: SubprocessOptions): Backend {
  const { root, entry, catalog_dir, max_log_bytes = MAX_LOG_BYTES } = options;
  /** How the processes we started ended, or will end. */
  const children = new Map<string, { pid: number; ended: Promise<EngineExitReport> }>();
  const logCheck = setInterval(
    () => void limitLogs().catch(options.onError),
    options.log_check_ms ?? LOG_CHECK_MS,
  );
  logCheck.unref();

  const folderOf = (engine_id: string) => join(root, engine_id);
  const logOf = (engine_id: string) => join(folderOf(engine_id), 'engine.log');

  async function create(spec: EngineSpec, signal: AbortSignal): Promise<ProcessRecord> {
    const { engine_id, epoch, port } = spec;
    if (port === null) throw new TypeError('an engine process needs a port');
    const standing = await find(engine_id);
    if (standing !== null) {
      if (standing.epoch === epoch && standing.port === port) {
        await keepRecord(engine_id, standing);
        await thawProcess(standing);
        return standing;
      }
      await terminate(standing, STOP_GRACE_S * 1000);
    }
    return await launch(spec, port, signal);
  }

  async function launch(spec: EngineSpec, port: number, signal: AbortSignal): Promise<ProcessRecord> {
    const { engine_id, epoch, environment } = spec;
    const folder = folderOf(engine_id);
    await mkdir(join(folder, 'workspace'), { recursive: true, mode: 0o700 });
    await limitLog(logOf(engine_id), max_log_bytes);
    const contract: EngineEnvironment = {
      ENGINE_KEY_HASH: environment.ENGINE_KEY_HASH,
      SQLITE_DB_PATH: join(folder, 'brain.sqlite'),
      CATALOG_DIR: catalog_dir,
      ENGINE_EPOCH: String(epoch),
      ENGINE_HOST: HOST,
      ENGINE_PORT: String(port),
    };
    const log = await open(logOf(engine_id), 'a', 0o600);
    try {
      signal.throwIfAborted();
      const child = spawn(process.execPath, [entry, `${markOf(engine_id)}${epoch}/${port}`], {
        cwd: folder,
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
        env: { ...environment, ...contract, HOME: folder },
      });
      await once(child, 'spawn');
      child.unref();
      const pid = child.pid ?? 0;
      children.set(engine_id, { pid, ended: endOf(child, engine_id) });
      // One that has ended by now has no start; any word will do, it is not alive.
      const record = { pid, started: (await startOf(pid)) ?? 'ended', epoch, port };
      await keepRecord(engine_id, record);
      return record;
    } finally {
      await log.close();
    }
  }

  async function endOf(child: ChildProcess, engine_id: string): Promise<EngineExitReport> {
    const [code, signal] = await once(child, 'exit');
    return { code, signal, last_words: await lastWords(logOf(engine_id)).catch(() => null) };
  }

  /**
   * The engine's living process: the recorded one, else one that carries its mark. A record that cannot be
   * read is no obstacle here, or nothing could ever end or replace such an engine.
   */
  async function find(engine_id: string): Promise<ProcessRecord | null> {
    const record = await readRecord(engine_id).catch(() => null);
    if (record !== null && (await isAlive(record))) return record;
    const mark = markOf(engine_id);
    for (const { pid, argument } of await findByArgument(mark)) {
      const [epoch, port] = argument.slice(mark.length).split('/').map(Number);
      const found = ProcessRecord.safeParse({ pid, started: await startOf(pid), epoch, port });
      if (found.success) return found.data;
    }
    return null;
  }

  async function is_running(engine_id: string): Promise<Presence> {
    try {
      const record = await readRecord(engine_id);
      if (record === null) return { state: 'absent', exit: null };
      if (await isAlive(record)) {
        return { state: 'present', epoch: record.epoch, frozen: await isFrozen(record) };
      }
      const child = children.get(engine_id);
      return { state: 'absent', exit: child?.pid === record.pid ? await child.ended : null };
    } catch (error) {
      return { state: 'unknown', reason: error instanceof Error ? error.message : 'unreadable' };
    }
  }

  async function stop(engine_id: string, grace_s = STOP_GRACE_S): Promise<void> {
    const standing = await find(engine_id);
    if (standing !== null) await terminate(standing, grace_s * 1000);
    children.delete(engine_id);
    await rm(recordFile(engine_id), { force: true });
  }

  async function freeze(engine_id: string, { epoch }: { epoch: number }): Promise<boolean> {
    const standing = await find(engine_id);
    if (standing?.epoch !== epoch) return false;
    await freezeProcess(standing);
    // This caller may have been held up between looking and freezing, while another woke the engine.
    const now = await find(engine_id);
    if (now?.epoch === epoch) return true;
    await thawProcess(standing);
    return false;
  }

  async function thaw(engine_id: string, { epoch }: { epoch: number }): Promise<boolean> {
    const standing = await find(engine_id);
    if (standing === null || standing.epoch > epoch) return false;
    // First the fence, then the deed: a late freeze must find the new epoch, or be undone by this.
    await keepRecord(engine_id, { ...standing, epoch });
    await thawProcess(standing);
    return await isAlive(standing);
  }

  async function engineIds(): Promise<string[]> {
    try {
      return await readdir(root);
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return [];
      throw error;
    }
  }

  async function limitLogs(): Promise<void> {
    for (const engine_id of await engineIds()) await limitLog(logOf(engine_id), max_log_bytes);
  }

  const recordFile = (engine_id: string) => join(folderOf(engine_id), 'process.json');

  async function readRecord(engine_id: string): Promise<ProcessRecord | null> {
    try {
      return ProcessRecord.parse(JSON.parse(await readFile(recordFile(engine_id), 'utf8')));
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return null;
      throw error;
    }
  }

  /** Whole or not at all: a half-written record would make the engine unknown. */
  async function keepRecord(engine_id: string, record: ProcessRecord): Promise<void> {
    const draft = `${recordFile(engine_id)}.new`;
    await writeFile(draft, JSON.stringify(record), { mode: 0o600 });
    await rename(draft, recordFile(engine_id));
  }

  return {
    publishes_ports: true,
    async create(spec, signal) {
      const { port } = await create(spec, signal);
      return { host: HOST, port, container_id: null, url: `http://${HOST}:${port}` };
    },
    stop,
    freeze,
    thaw,
    async destroy(engine_id) {
      await stop(engine_id);
      await rm(folderOf(engine_id), { recursive: true, force: true, maxRetries: 3 });
    },
    is_running,
    async list() {
      const found = await Promise.all(
        (await engineIds()).map(async (engine_id) => ({ engine_id, presence: await is_running(engine_id) })),
      );
      return found.flatMap(({ engine_id, presence }) =>
        presence.state === 'present' ? [{ engine_id, epoch: presence.epoch }] : [],
      );
    },
    async close() {
      clearInterval(logCheck);
    },
  };
}

/** The beginning of the argument by which the processes of an engine are found; its epoch and port follow. */
const markOf = (engine_id: string) => `--engine=${engine_id}/`;
