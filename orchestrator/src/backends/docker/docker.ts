/**
 * Engines as containers of one Docker daemon, for production. Source: bap-engine §8, §9, O12, O14, O15, O22.
 *
 * An engine is a container `engine-{engine_id[:12]}`, a data volume, and marks (marks.ts: how epochs are kept there, and
 * why two orchestrators cannot both be right). Everything is found again in Docker; nothing is kept here, so any number
 * of orchestrators may use one daemon.
 *
 * Each act is a walk that can be begun anew at any point, and is, while the daemon is away or says that something is in
 * another state than it was a moment ago (patience.ts). There is no lock: acts on different engines go side by side, and
 * two on the same engine are put in order by the marks and by the one name a container can have.
 */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { DockerConfig } from '../../config.ts';
import { type HitFailpoint, noFailpoint } from '../../failpoints.ts';
import type { Backend, EngineEndpoint, EngineExited, EngineSpec, Presence } from '../contract.ts';
import { PortUnavailable, STOP_GRACE_S, StaleEpoch } from '../contract.ts';
import { ENGINE_ID } from '../fence.ts';
import { type DockerApi, DockerError, isDocker, openDockerApi } from './api.ts';
import { CONTAINER_PORT, type ContainerSettings, containerBody, ENGINE_UID, HOST } from './container.ts';
import { type Container, epochOf, exitReport, openContainers } from './containers.ts';
import { type Copying, newestCopy, openCopies, removeCopies } from './copies.ts';
import { type Death, followDeaths } from './events.ts';
import { type Marks, openMarks, volumesOf } from './marks.ts';
import { containerName, startVolume } from './names.ts';
import { patiently } from './patience.ts';
import { openPresences } from './presence.ts';
import { SECRETS_FOLDER, secretFiles, tarOf } from './secrets.ts';
import { ensureNetwork, pullImage } from './supplies.ts';

/** How often the marks of destroyed engines are looked through, milliseconds. */
const PRUNE_MS = 60 * 60 * 1000;
/** States in which a container of the right epoch is what `create` is to bring up, or becomes it by being started. */
const TAKEN_AS_IT_IS = new Set(['running', 'paused', 'created']);
/** States in which there is something to freeze or to let go on. */
const STANDS = new Set(['running', 'paused', 'restarting']);
/** Docker has no code for it, only these words of its two ways to publish a port. */
const PORT_IS_TAKEN = /port is already allocated|address already in use/;

const Created = z.object({ Id: z.string() });

export type DockerSettings = DockerConfig & ContainerSettings;

export type DockerOptions = DockerSettings & {
  /** Hears of a broken stream of events, and of old marks that could not be removed. */
  onError(error: unknown): void;
  /** Hit at each point of `FAILPOINTS` that is in here. */
  failpoint?: HitFailpoint;
};

export function dockerBackend(options: DockerOptions): Backend {
  const { network, failpoint = noFailpoint } = options;
  const docker: DockerApi = openDockerApi(options.host);
  const marks = openMarks(docker, network);
  const containers = openContainers(docker, network);
  const copies = openCopies(docker, containers, network);
  const presences = openPresences(containers, marks);
  const life = new AbortController();
  const listeners = new Set<(exit: EngineExited) => void>();
  let network_made: Promise<void> | null = null;

  const onError = (error: unknown) => {
    if (!life.signal.aborted) options.onError(error);
  };
  followDeaths(docker, network, life.signal, {
    death: (death) => void tell(death).catch(onError),
    broken: onError,
  });
  const pruning = setInterval(() => void marks.prune(Date.now()).catch(onError), PRUNE_MS);
  pruning.unref();

  async function tell({ container_id, engine_id, labelled_epoch, exit_code }: Death): Promise<void> {
    if (!ENGINE_ID.test(engine_id) || listeners.size === 0) return;
    const [{ thawed }, report] = await Promise.all([
      marks.of(engine_id),
      containers.report(container_id, exit_code).catch((error) => {
        // Removed by hand, log and all.
        if (isDocker(error, 'gone')) return exitReport(exit_code, null);
        throw error;
      }),
    ]);
    const epoch = Math.max(labelled_epoch, thawed.get(container_id) ?? 0);
    for (const listener of listeners) listener({ engine_id, epoch, report });
  }

  /** The container of an engine and its marks. */
  async function look(engine_id: string): Promise<[Container | null, Marks]> {
    return await Promise.all([containers.find(engine_id), marks.of(engine_id)]);
  }

  /** The same for one who has just raised the fence; of a destroyed engine nothing is left by it. */
  async function lookRaised(engine_id: string, epoch: number): Promise<[Container | null, Marks]> {
    const [found, seen] = await look(engine_id);
    if (seen.destroyed) await marks.remove(startVolume(engine_id, epoch));
    refuseOutdated(seen, epoch);
    return [found, seen];
  }

  function refuseLower({ fence }: Marks, epoch: number): void {
    if (fence > epoch) throw new StaleEpoch(epoch, fence);
  }

  function refuseOutdated(seen: Marks, epoch: number): void {
    if (seen.destroyed) throw new StaleEpoch(epoch, 'destroyed');
    refuseLower(seen, epoch);
  }

  async function bringUp(spec: EngineSpec, signal: AbortSignal): Promise<string> {
    const { engine_id, epoch, port } = spec;
    signal.throwIfAborted();
    await marks.raise(engine_id, epoch);
    failpoint('create.fenced');
    const [found, seen] = await lookRaised(engine_id, epoch);
    if (found !== null) {
      const its = epochOf(found, seen);
      if (its === epoch && found.port === port && TAKEN_AS_IT_IS.has(found.state)) {
        if (found.state === 'paused') await containers.unpause(found.id);
        if (found.state === 'created') await bringToLife(found.id, spec, signal);
        return found.id;
      }
      await endOlder(found, its, epoch, STOP_GRACE_S);
      await containers.remove(found.id);
    }
    // The container that gave them a meaning is gone.
    for (const { name, epoch: its } of seen.marks) if (its < epoch) await marks.remove(name);
    failpoint('create.replaced');
    signal.throwIfAborted();
    const id = await makeContainer(spec, signal);
    failpoint('create.made');
    await bringToLife(id, spec, signal);
    return id;
  }

  async function makeNetwork(): Promise<void> {
    await ensureNetwork(docker, network).catch((error) => {
      network_made = null;
      throw error;
    });
  }

  /** Ends a container, unless it is of a higher epoch than the caller's. */
  async function endOlder(found: Container, its: number, epoch: number, grace_s: number): Promise<void> {
    if (its > epoch) throw new StaleEpoch(epoch, its);
    await containers.end(found, grace_s);
  }

  async function makeContainer(spec: EngineSpec, signal: AbortSignal): Promise<string> {
    network_made ??= makeNetwork();
    await network_made;
    const create = async () => {
      const answer = await docker.call({
        method: 'POST',
        path: '/containers/create',
        query: { name: containerName(spec.engine_id) },
        body: containerBody(spec, options),
      });
      return Created.parse(answer).Id;
    };
    try {
      return await create();
    } catch (error) {
      // The only thing that can be missing by now.
      if (!isDocker(error, 'gone')) throw error;
      await pullImage(docker, spec.image, signal);
      return await create();
    }
  }

  /** Starts a container that was only made. One that comes too late is taken back. */
  async function bringToLife(id: string, spec: EngineSpec, signal: AbortSignal): Promise<void> {
    const { engine_id, epoch, port } = spec;
    try {
      await putSecrets(id, spec);
      refuseOutdated(await marks.of(engine_id), epoch);
      signal.throwIfAborted();
      failpoint('create.ready');
      await start(id, port);
      failpoint('create.spawned');
      refuseOutdated(await marks.of(engine_id), epoch);
    } catch (error) {
      if (error instanceof StaleEpoch || error instanceof PortUnavailable || signal.aborted) {
        await containers.remove(id);
        await removeIfDestroyed(engine_id);
      }
      throw error;
    }
  }

  async function putSecrets(id: string, { environment }: EngineSpec): Promise<void> {
    const file = tarOf(secretFiles(environment).files, ENGINE_UID);
    const query = { path: SECRETS_FOLDER };
    await docker.call({ method: 'PUT', path: `/containers/${id}/archive`, query, file });
  }

  async function start(id: string, port: number | null): Promise<void> {
    try {
      await docker.call({ method: 'POST', path: `/containers/${id}/start` });
    } catch (error) {
      if (error instanceof DockerError && PORT_IS_TAKEN.test(error.message))
        throw new PortUnavailable(port ?? 0);
      // Perhaps it was the network that is gone: the next try makes it.
      if (isDocker(error, 'gone')) network_made = null;
      throw error;
    }
  }

  async function stop(engine_id: string, epoch: number, grace_s: number): Promise<void> {
    const [found, seen] = await look(engine_id);
    if (found !== null) await endOlder(found, epochOf(found, seen), epoch, grace_s);
    failpoint('stop.terminated');
    refuseLower(await marks.of(engine_id), epoch);
  }

  /** Also where there is nothing to stop: a late create must not bring it up after this. */
  async function fenceOff(engine_id: string, epoch: number): Promise<void> {
    let seen = await marks.of(engine_id);
    if (seen.destroyed) return;
    if (seen.fence < epoch) {
      await marks.raise(engine_id, epoch);
      seen = await marks.of(engine_id);
      if (seen.destroyed) return void (await marks.remove(startVolume(engine_id, epoch)));
    }
    refuseOutdated(seen, epoch);
  }

  async function destroy(engine_id: string, epoch: number, call_id: string): Promise<void> {
    // An outdated one must not be in the way of what is rightful, not even for a moment.
    refuseLower(await marks.of(engine_id), epoch);
    const unmark = await marks.markDestroyed(engine_id, call_id);
    failpoint('remove.marked');
    try {
      refuseLower(await marks.of(engine_id), epoch);
    } catch (error) {
      await unmark();
      throw error;
    }
    await stop(engine_id, epoch, STOP_GRACE_S);
    failpoint('remove.stopped');
    const [found, left] = await look(engine_id);
    if (found !== null) await containers.remove(found.id);
    for (const volume of volumesOf(engine_id, left)) {
      if (await marks.remove(volume)) continue;
      throw new DockerError('conflict', `Docker: the volume ${volume} is still in use.`);
    }
  }

  async function freeze(engine_id: string, epoch: number): Promise<boolean> {
    const isOurs = (found: Container | null, seen: Marks): found is Container =>
      found !== null && !seen.destroyed && seen.fence <= epoch && epochOf(found, seen) === epoch;
    const [found, seen] = await look(engine_id);
    if (!isOurs(found, seen) || !STANDS.has(found.state)) return false;
    await containers.pause(found.id);
    // This caller may have been held up between looking and freezing, while another woke the engine.
    const [now, later] = await look(engine_id);
    if (isOurs(now, later) && now.id === found.id && now.state === 'paused') return true;
    await containers.unpause(found.id);
    return false;
  }

  async function thaw(engine_id: string, epoch: number): Promise<boolean> {
    const [found, seen] = await look(engine_id);
    if (found === null || seen.destroyed || !STANDS.has(found.state)) return false;
    const its = epochOf(found, seen);
    if (its > epoch || seen.fence > epoch) return false;
    if (its < epoch) {
      // First the fence, then the deed: a late freeze must find the new epoch, or be undone by this.
      await marks.raiseByThaw(engine_id, epoch, found.id);
      refuseOutdated(await marks.of(engine_id), epoch);
    }
    await containers.unpause(found.id);
    const now = await containers.find(engine_id);
    return now?.id === found.id && STANDS.has(now.state);
  }

  /** What is done to an engine's data has its place in Docker, and no engine that uses it. */
  async function withData<T>(
    { engine_id, epoch, image }: Omit<Copying, 'check'>,
    work: (copying: Copying, seen: Marks) => Promise<T>,
  ): Promise<T> {
    await marks.raise(engine_id, epoch);
    const [found, seen] = await lookRaised(engine_id, epoch);
    if (found !== null) {
      const its = epochOf(found, seen);
      if (its > epoch) throw new StaleEpoch(epoch, its);
      if (STANDS.has(found.state)) throw new TypeError(`container ${found.id} of the engine uses its data`);
      await containers.remove(found.id);
    }
    const check = async () => refuseOutdated(await marks.of(engine_id), epoch);
    try {
      return await work({ engine_id, epoch, image, check }, seen);
    } catch (error) {
      if (error instanceof StaleEpoch) await removeIfDestroyed(engine_id);
      throw error;
    }
  }

  async function removeIfDestroyed(engine_id: string): Promise<void> {
    const seen = await marks.of(engine_id);
    if (seen.destroyed) for (const volume of volumesOf(engine_id, seen)) await marks.remove(volume);
  }

  const snapshot = (engine_id: string, epoch: number, image: string) =>
    withData({ engine_id, epoch, image }, async (copying, seen) => {
      if (newestCopy(seen) === epoch) return;
      await copies.fill(copying);
      failpoint('snapshot.copied');
      await copying.check();
      await marks.markCopied(engine_id, epoch);
      await copying.check();
      await removeCopies(marks, seen, epoch - 1);
    });

  const revert = (engine_id: string, epoch: number, image: string) =>
    withData({ engine_id, epoch, image }, async (copying, seen) => {
      const from = newestCopy(seen);
      if (from === null) return false;
      failpoint('revert.copied');
      await copying.check();
      await copies.empty(copying);
      failpoint('revert.swapping');
      await copying.check();
      await copies.bringBack(copying, from);
      await copying.check();
      return true;
    });

  async function forget(engine_id: string, epoch: number): Promise<void> {
    const seen = await marks.of(engine_id);
    refuseLower(seen, epoch);
    await removeCopies(marks, seen, epoch);
  }

  async function is_running(engine_id: string): Promise<Presence> {
    try {
      return await presences.of(engine_id);
    } catch (error) {
      return { state: 'unknown', reason: error instanceof Error ? error.message : 'no answer' };
    }
  }

  function endpointOf({ engine_id, port }: EngineSpec, container_id: string): EngineEndpoint {
    const host_url = `http://${HOST}:${port}`;
    if (options.url_mode === 'host') {
      return { host: HOST, port: port ?? 0, container_id, url: host_url, host_url: null };
    }
    const host = containerName(engine_id);
    const url = `http://${host}:${CONTAINER_PORT}`;
    return { host, port: CONTAINER_PORT, container_id, url, host_url };
  }

  return {
    publishes_ports: true,
    async create(spec, signal) {
      if (spec.port === null) throw new TypeError('a container publishes a port');
      const either = AbortSignal.any([signal, life.signal]);
      return endpointOf(spec, await patiently(() => bringUp(spec, signal), either));
    },
    stop: (engine_id, { epoch, grace_s = STOP_GRACE_S }) =>
      patiently(async () => {
        await fenceOff(engine_id, epoch);
        await stop(engine_id, epoch, grace_s);
      }, life.signal),
    destroy(engine_id, { epoch }) {
      const call_id = randomUUID();
      return patiently(() => destroy(engine_id, epoch, call_id), life.signal);
    },
    freeze: (engine_id, { epoch }) => patiently(() => freeze(engine_id, epoch), life.signal),
    thaw: (engine_id, { epoch }) => patiently(() => thaw(engine_id, epoch), life.signal),
    snapshot: (engine_id, { epoch, image }) =>
      patiently(() => snapshot(engine_id, epoch, image), life.signal),
    revert: (engine_id, { epoch, image }) => patiently(() => revert(engine_id, epoch, image), life.signal),
    forget: (engine_id, { epoch }) => patiently(() => forget(engine_id, epoch), life.signal),
    is_running,
    async list() {
      const listed = await presences.all();
      return listed.filter(({ engine_id }) => ENGINE_ID.test(engine_id));
    },
    onExit(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      listeners.clear();
      clearInterval(pruning);
      life.abort(new DockerError('unavailable', 'This orchestrator ends.'));
      docker.close();
    },
  };
}

/** The fence of each engine of the installation. */
export async function dockerFences({ host, network }: DockerConfig): Promise<Map<string, number>> {
  const docker = openDockerApi(host);
  try {
    const all = await openMarks(docker, network).all();
    return new Map([...all].filter(([id]) => ENGINE_ID.test(id)).map(([id, { fence }]) => [id, fence]));
  } finally {
    docker.close();
  }
}
