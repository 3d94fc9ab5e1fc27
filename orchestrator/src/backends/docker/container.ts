/**
 * An engine's container, as settings: what it may do, see and take. Source: bap-engine §8, §9, O15.
 *
 * An engine runs commands that a model wrote. Its own sandbox holds those; this is the wall behind it, for an engine
 * that has been taken over: no capability, no new privileges, no write outside its data, a ceiling for memory,
 * processor and processes. Nothing secret stands here: whoever may `docker inspect` would see it (secrets.ts).
 */
import type { EngineEnvironment } from '@september/contract';
import type { DockerConfig } from '../../config.ts';
import { type EngineSpec, STOP_GRACE_S } from '../contract.ts';
import { startVolumeLabels } from './marks.ts';
import { containerName, dataVolume, LABEL, startVolume } from './names.ts';
import { SECRETS_FOLDER, secretFiles } from './secrets.ts';

/** Where the engine listens in its container. */
export const CONTAINER_PORT = 8000;
/** The port is published to this machine only. */
export const HOST = '127.0.0.1';
/** The user of the engine's image; it owns the data. */
export const ENGINE_UID = 1000;
/** Scratch space in memory; it counts towards the container's, bytes. */
const TMP_BYTES = 256 * 2 ** 20;
/** Logs of last resort, as long as a subprocess engine's (../subprocess.ts): one file and the one before it. */
const LOG = { 'max-size': '10m', 'max-file': '2' };

export type ContainerSettings = Omit<DockerConfig, 'host' | 'url_mode'> & {
  /** The profile as JSON, or `unconfined`. */
  seccomp: string;
};

/** The body of `POST /containers/create`. */
export function containerBody(spec: EngineSpec, settings: ContainerSettings) {
  const { engine_id, epoch, port, image } = spec;
  const { network, catalog_dir, memory_mb, cpus, pids, runtime, seccomp } = settings;
  const name = containerName(engine_id);
  const exposed = `${CONTAINER_PORT}/tcp`;
  const memory = memory_mb * 2 ** 20;
  const own: Omit<EngineEnvironment, 'ENGINE_KEY_HASH'> = {
    SQLITE_DB_PATH: '/data/brain.sqlite',
    CATALOG_DIR: '/catalog',
    ENGINE_EPOCH: String(epoch),
    ENGINE_HOST: '0.0.0.0',
    ENGINE_PORT: String(CONTAINER_PORT),
  };
  const { open, paths } = secretFiles(spec.environment);
  return {
    Image: image,
    Hostname: name,
    User: `${ENGINE_UID}:${ENGINE_UID}`,
    Env: Object.entries({ ...open, ...own, ...paths }).map(([key, value]) => `${key}=${value}`),
    Labels: {
      [LABEL.engine_id]: engine_id,
      [LABEL.epoch]: String(epoch),
      [LABEL.port]: String(port),
      [LABEL.network]: network,
    },
    ExposedPorts: { [exposed]: {} },
    // The orchestrator probes; a second opinion would only start processes.
    Healthcheck: { Test: ['NONE'] },
    StopTimeout: STOP_GRACE_S,
    NetworkingConfig: { EndpointsConfig: { [network]: { Aliases: [name] } } },
    HostConfig: {
      NetworkMode: network,
      PortBindings: { [exposed]: [{ HostIp: HOST, HostPort: String(port) }] },
      RestartPolicy: { Name: 'unless-stopped' },
      Mounts: [
        {
          Type: 'volume',
          Source: dataVolume(engine_id),
          Target: '/data',
          VolumeOptions: { Labels: { [LABEL.engine_id]: engine_id, [LABEL.network]: network } },
        },
        {
          Type: 'volume',
          Source: startVolume(engine_id, epoch),
          Target: SECRETS_FOLDER,
          VolumeOptions: { Labels: startVolumeLabels(engine_id, epoch, network) },
        },
        ...(catalog_dir === null
          ? []
          : [{ Type: 'bind', Source: catalog_dir, Target: '/catalog', ReadOnly: true }]),
      ],
      ReadonlyRootfs: true,
      Tmpfs: { '/tmp': `rw,nosuid,nodev,mode=1777,size=${TMP_BYTES}` },
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges', `seccomp=${seccomp}`],
      Memory: memory,
      // Without swap beside it: an engine that swaps is slower than one that is restarted.
      MemorySwap: memory,
      NanoCpus: Math.round(cpus * 1e9),
      PidsLimit: pids,
      ...(runtime !== '' && { Runtime: runtime }),
      LogConfig: { Type: 'json-file', Config: LOG },
    },
  };
}
