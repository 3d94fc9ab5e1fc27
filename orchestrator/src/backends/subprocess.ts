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
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ENGINE_NODE_OPTIONS, type EngineEnvironment } from '@september/contract';
import { z } from 'zod';
import { type HitFailpoint, noFailpoint } from '../failpoints.ts';
import type { Backend, EngineExitReport, EngineSpec, Presence } from './contract.ts';
import { STOP_GRACE_S, StaleEpoch } from './contract.ts';
import { lastWords, limitLog } from './engine_log.ts';
import { watchExits } from './exits.ts';
import { checkFence, ENGINE_ID, fenceOf, raiseFence } from './fence.ts';
import { openGraveyard } from './graveyard.ts';
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
import { openSnapshots } from './snapshots.ts';

const HOST = '127.0.0.1';
/** Largest log of an engine, bytes; with the one before it twice that. */
const MAX_LOG_BYTES = 10 * 2 ** 20;
/** How often the logs are measured, milliseconds. */
const LOG_CHECK_MS = 10_000;
/** How often the marks of destroyed engines are looked through, milliseconds. */
const PRUNE_MS = 60 * 60 * 1000;

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
  /**
   * Program of the Engine, absolute; it runs under the same Node as the orchestrator. Of any image; tests have one for
   * each.
   */
  entry: string | ((image: string) => string);
  /** Catalog that engines read, absolute. */
  catalog_dir: string;
  /** What every engine gets beside what it is created with: `PATH` and the like. */
  environment: Record<string, string>;
  /** Hears of logs that could not be limited, and of old marks that could not be removed. */
  onError(error: unknown): void;
  /** Hit at each point of `FAILPOINTS` that is in here. */
  failpoint?: HitFailpoint;
  max_log_bytes?: number;
  log_check_ms?: number;
};

export function subprocessBackend(options: SubprocessOptions): Backend {
  const { root, entry, catalog_dir, max_log_bytes = MAX_LOG_BYTES, failpoint = noFailpoint } = options;
  /** How the processes we started ended, or will end. */
  const children = new Map<string, { pid: number; ended: Promise<EngineExitReport> }>();
  let measuring = false;
  const logCheck = setInterval(() => {
    // Two at once on one log: the second would copy what the first has just cut over the only copy.
    if (measuring) return;
    measuring = true;
    limitLogs()
      .catch(options.onError)
      .finally(() => {
        measuring = false;
      });
  }, options.log_check_ms ?? LOG_CHECK_MS);
  logCheck.unref();
  const exits = watchExits({
    ended: async (engine_id, { pid }) => {
      const last_words = await lastWords(logOf(engine_id)).catch(() => null);
      return {
        engine_id,
        epoch: await epochOf(engine_id, pid, 0),
        report: { code: null, signal: null, last_words },
      };
    },
    onError: options.onError,
  });
  const graveyard = openGraveyard(`${root}.destroyed`);
  const snapshots = openSnapshots(`${root}.snapshots`, failpoint);
  const pruning = setInterval(() => void graveyard.prune(Date.now()).catch(options.onError), PRUNE_MS);
  pruning.unref();

  const folderOf = (engine_id: string) => join(root, engine_id);
  const logOf = (engine_id: string) => join(folderOf(engine_id), 'engine.log');

  /**
   * Takes the engine's folder for `epoch`: whoever comes later with a lower one is refused. Throws `StaleEpoch`
   * when somebody was before, or has destroyed the engine; looked at last, so that of two who act in the same
   * moment at least one sees the other.
   */
  async function takeFolder(engine_id: string, epoch: number): Promise<void> {
    const folder = folderOf(engine_id);
    await refuseDestroyed(engine_id, epoch);
    const made = await mkdir(join(folder, 'workspace'), { recursive: true, mode: 0o700 });
    await raiseFence(folder, epoch);
    try {
      await refuseDestroyed(engine_id, epoch);
    } catch (error) {
      if (made !== undefined) await removeFolder(engine_id);
      throw error;
    }
  }

  async function refuseDestroyed(engine_id: string, epoch: number): Promise<void> {
    if (await graveyard.has(engine_id)) throw new StaleEpoch(epoch, 'destroyed');
  }

  async function create(spec: EngineSpec, signal: AbortSignal): Promise<ProcessRecord> {
    try {
      return await bringUp(spec, signal);
    } catch (error) {
      // A destroy takes the folder away under whatever is still done in it.
      await refuseDestroyed(spec.engine_id, spec.epoch);
      throw error;
    }
  }

  async function bringUp(spec: EngineSpec, signal: AbortSignal): Promise<ProcessRecord> {
    const { engine_id, epoch, port } = spec;
    if (port === null) throw new TypeError('an engine process needs a port');
    await takeFolder(engine_id, epoch);
    failpoint('create.fenced');
    const all = await standing(engine_id);
    const same = all.find((one) => one.epoch === epoch && one.port === port);
    for (const other of all) if (other !== same) await endProcess(other, epoch, STOP_GRACE_S);
    if (same !== undefined) {
      await keepRecord(engine_id, same);
      await thawProcess(same);
      watch(engine_id, same);
      return same;
    }
    failpoint('create.replaced');
    return await launch(spec, port, signal);
  }

  /** Ends one process of an engine, unless it is of a higher epoch than the caller's. */
  async function endProcess(one: ProcessRecord, epoch: number, grace_s: number): Promise<void> {
    if (one.epoch > epoch) throw new StaleEpoch(epoch, one.epoch);
    await terminate(one, grace_s * 1000);
  }

  async function launch(spec: EngineSpec, port: number, signal: AbortSignal): Promise<ProcessRecord> {
    const { engine_id, epoch, environment } = spec;
    const program = typeof entry === 'string' ? entry : entry(spec.image);
    const folder = folderOf(engine_id);
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
      failpoint('create.made');
      // Ending the process before may have taken long.
      await checkFence(folder, epoch);
      signal.throwIfAborted();
      failpoint('create.ready');
      const mark = `${markOf(engine_id)}${epoch}/${port}`;
      const child = spawn(process.execPath, [...ENGINE_NODE_OPTIONS, program, mark], {
        cwd: folder,
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
        env: { ...options.environment, ...environment, ...contract, HOME: folder },
      });
      await once(child, 'spawn');
      child.unref();
      const pid = child.pid ?? 0;
      const ended = endOf(child, engine_id);
      children.set(engine_id, { pid, ended });
      ended.then(
        async (report) => exits.tell({ engine_id, epoch: await epochOf(engine_id, pid, epoch), report }),
        options.onError,
      );
      // One that has ended by now has no start; any word will do, it is not alive.
      const record = { pid, started: (await startOf(pid)) ?? 'ended', epoch, port };
      failpoint('create.spawned');
      await undoIfLate(engine_id, record);
      const first = await firstOf(engine_id, record);
      if (first !== record) await terminate(record, 0);
      await keepRecord(engine_id, first);
      watch(engine_id, first);
      return first;
    } finally {
      await log.close();
    }
  }

  async function endOf(child: ChildProcess, engine_id: string): Promise<EngineExitReport> {
    const [code, signal] = await once(child, 'exit');
    return { code, signal, last_words: await lastWords(logOf(engine_id)).catch(() => null) };
  }

  /** The epoch of a process of ours: a thaw gives it another than it was started with. */
  async function epochOf(engine_id: string, pid: number, started_with: number): Promise<number> {
    const record = await readRecord(engine_id).catch(() => null);
    return record?.pid === pid ? record.epoch : started_with;
  }

  /** Between the last look and the start of the process a caller may have been frozen for any time. */
  async function undoIfLate(engine_id: string, record: ProcessRecord): Promise<void> {
    try {
      await checkFence(folderOf(engine_id), record.epoch);
      await refuseDestroyed(engine_id, record.epoch);
    } catch (error) {
      await terminate(record, 0);
      if (await graveyard.has(engine_id)) await removeFolder(engine_id);
      throw error;
    }
  }

  /**
   * Which one stays when two callers of one epoch have started a process in the same moment: the lower
   * process id, so that both come to the same answer.
   */
  async function firstOf(engine_id: string, record: ProcessRecord): Promise<ProcessRecord> {
    const twins = (await standing(engine_id)).filter(({ pid, epoch }) => {
      return epoch === record.epoch && pid !== record.pid;
    });
    const lowest = twins.sort((a, b) => a.pid - b.pid)[0];
    return lowest !== undefined && lowest.pid < record.pid ? lowest : record;
  }

  /** Has the end of a process told, whoever started it: our own children tell it themselves. */
  function watch(engine_id: string, record: ProcessRecord): void {
    if (children.get(engine_id)?.pid !== record.pid) exits.adopt(engine_id, record);
  }

  /**
   * The engine's living processes, the highest epoch first: all that carry its mark. The record has the last
   * word on a process's epoch, because a thaw gives it another. A record that cannot be read is no obstacle
   * here, or nothing could ever end or replace such an engine.
   */
  async function standing(engine_id: string): Promise<ProcessRecord[]> {
    const record = await readRecord(engine_id).catch(() => null);
    const mark = markOf(engine_id);
    const found: ProcessRecord[] = [];
    for (const { pid, argument } of await findByArgument(mark)) {
      const [epoch, port] = argument.slice(mark.length).split('/').map(Number);
      const one = ProcessRecord.safeParse({ pid, started: await startOf(pid), epoch, port });
      if (!one.success) continue;
      found.push(record?.pid === pid && record.started === one.data.started ? record : one.data);
    }
    return found.sort((a, b) => b.epoch - a.epoch);
  }

  /** The engine's living process: the recorded one, unless a late caller wrote that record. */
  async function find(engine_id: string): Promise<ProcessRecord | null> {
    const record = await readRecord(engine_id).catch(() => null);
    if (record !== null && (await isAlive(record)) && record.epoch >= (await fenceOf(folderOf(engine_id)))) {
      return record;
    }
    return (await standing(engine_id))[0] ?? null;
  }

  async function is_running(engine_id: string): Promise<Presence> {
    try {
      const recorded = await readRecord(engine_id);
      if (recorded === null) return { state: 'absent', exit: null };
      const late = recorded.epoch < (await fenceOf(folderOf(engine_id)));
      const record = (late ? await find(engine_id) : null) ?? recorded;
      if (await isAlive(record)) {
        watch(engine_id, record);
        return { state: 'present', epoch: record.epoch, frozen: await isFrozen(record) };
      }
      const child = children.get(engine_id);
      return { state: 'absent', exit: child?.pid === record.pid ? await child.ended : null };
    } catch (error) {
      return { state: 'unknown', reason: error instanceof Error ? error.message : 'unreadable' };
    }
  }

  async function stop(engine_id: string, epoch: number, grace_s: number): Promise<void> {
    for (const one of await standing(engine_id)) await endProcess(one, epoch, grace_s);
    failpoint('stop.terminated');
    await checkFence(folderOf(engine_id), epoch);
    children.delete(engine_id);
    // A record says which process it means, and that one is gone. To remove it might hit one that a later create
    // has just written; only what nobody can read has to go, or the engine would be unknown for ever.
    await readRecord(engine_id).catch(() => rm(recordFile(engine_id), { force: true }));
  }

  async function destroy(engine_id: string, epoch: number): Promise<void> {
    // An outdated one must not be in the way of what is rightful, not even for a moment.
    await checkFence(folderOf(engine_id), epoch);
    const unmark = await graveyard.mark(engine_id);
    failpoint('remove.marked');
    try {
      await checkFence(folderOf(engine_id), epoch);
    } catch (error) {
      await unmark();
      throw error;
    }
    await stop(engine_id, epoch, STOP_GRACE_S);
    failpoint('remove.stopped');
    await snapshots.forget(engine_id, Infinity);
    await removeFolder(engine_id);
  }

  /** What is done to an engine's data has its folder, and no process that uses it. */
  async function withData<T>(
    engine_id: string,
    epoch: number,
    work: (folder: string, check: () => Promise<void>) => Promise<T>,
  ): Promise<T> {
    await takeFolder(engine_id, epoch);
    const folder = folderOf(engine_id);
    const check = async () => {
      const [one] = await standing(engine_id);
      if (one !== undefined && one.epoch > epoch) throw new StaleEpoch(epoch, one.epoch);
      if (one !== undefined) throw new TypeError(`process ${one.pid} of the engine uses its data`);
      await checkFence(folder, epoch);
      await refuseDestroyed(engine_id, epoch);
    };
    try {
      const result = await work(folder, check);
      await refuseDestroyed(engine_id, epoch);
      return result;
    } catch (error) {
      // A destroy takes everything away under whatever is still done to it.
      if (await graveyard.has(engine_id)) await snapshots.forget(engine_id, Infinity);
      await refuseDestroyed(engine_id, epoch);
      // Whoever came after it has taken away what it was working with.
      await checkFence(folder, epoch);
      throw error;
    }
  }

  const removeFolder = (engine_id: string) =>
    rm(folderOf(engine_id), { recursive: true, force: true, maxRetries: 3 });

  async function freeze(engine_id: string, { epoch }: { epoch: number }): Promise<boolean> {
    const standing = await find(engine_id);
    if (standing?.epoch !== epoch) return false;
    const isOurs = async () => (await find(engine_id))?.epoch === epoch;
    await freezeProcess(standing, isOurs);
    // This caller may have been held up between looking and freezing, while another woke the engine.
    if (await isOurs()) return true;
    await thawProcess(standing);
    return false;
  }

  async function thaw(engine_id: string, { epoch }: { epoch: number }): Promise<boolean> {
    const standing = await find(engine_id);
    if (standing === null || standing.epoch > epoch) return false;
    // First the fence, then the deed: a late freeze must find the new epoch, or be undone by this.
    await raiseFence(folderOf(engine_id), epoch);
    await keepRecord(engine_id, { ...standing, epoch });
    await thawProcess(standing);
    watch(engine_id, standing);
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
    const draft = `${recordFile(engine_id)}.${randomUUID()}`;
    await writeFile(draft, JSON.stringify(record), { mode: 0o600 });
    await rename(draft, recordFile(engine_id));
  }

  return {
    publishes_ports: true,
    async create(spec, signal) {
      const { port } = await create(spec, signal);
      return { host: HOST, port, container_id: null, url: `http://${HOST}:${port}`, host_url: null };
    },
    async stop(engine_id, { epoch, grace_s = STOP_GRACE_S }) {
      // Also where there is nothing to stop: a late create must not bring it up after this.
      if (!(await graveyard.has(engine_id))) await takeFolder(engine_id, epoch);
      await stop(engine_id, epoch, grace_s);
    },
    freeze,
    thaw,
    destroy: (engine_id, { epoch }) => destroy(engine_id, epoch),
    snapshot: (engine_id, { epoch }) =>
      withData(engine_id, epoch, (folder, check) => snapshots.keep(engine_id, epoch, folder, check)),
    revert: (engine_id, { epoch }) =>
      withData(engine_id, epoch, (folder, check) => snapshots.bringBack(engine_id, epoch, folder, check)),
    async forget(engine_id, { epoch }) {
      await checkFence(folderOf(engine_id), epoch);
      await snapshots.forget(engine_id, epoch);
    },
    is_running,
    async list() {
      const ids = (await engineIds()).filter((name) => ENGINE_ID.test(name));
      return await Promise.all(
        ids.map(async (engine_id) => ({ engine_id, presence: await is_running(engine_id) })),
      );
    },
    onExit: exits.onExit,
    async close() {
      exits.close();
      clearInterval(logCheck);
      clearInterval(pruning);
    },
  };
}

/** The beginning of the argument by which the processes of an engine are found; its epoch and port follow. */
const markOf = (engine_id: string) => `--engine=${engine_id}/`;
