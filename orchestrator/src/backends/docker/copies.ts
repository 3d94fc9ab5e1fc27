/**
 * Copies of an engine's data, for upgrades: a volume of their own beside it.
 *
 * What copies is a container in the engine's own place: with its name, its labels, and the epoch it works for. So
 * whoever comes with a later epoch finds it as he finds an engine, and ends it before he does anything; a copy that was
 * frozen in the middle cannot go on under a running engine. It runs in Docker: no byte of a brain comes through here.
 *
 * Volumes cannot be renamed, so a copy has its epoch in its name and counts once a mark says that it is complete.
 */
import { z } from 'zod';
import { BackendFault } from '../contract.ts';
import type { DockerApi } from './api.ts';
import type { Containers } from './containers.ts';
import type { MarkStore, Marks } from './marks.ts';
import { containerName, copyVolume, dataVolume, LABEL } from './names.ts';

/** Longest time a copy may take, milliseconds: a brain of gigabytes on a slow disk. */
const COPY_LIMIT_MS = 10 * 60_000;
/** What copying may take, so that it cannot hurt the engines beside it: bytes, processes. */
const LIMITS = { Memory: 256 * 2 ** 20, PidsLimit: 16 };

const EMPTY = 'find /to -mindepth 1 -delete';
const COPY = 'cp -a /from/. /to/';

const Created = z.object({ Id: z.string() });
const Waited = z.object({ StatusCode: z.int() });

export type Copying = {
  engine_id: string;
  epoch: number;
  /** Has `find` and `cp`, as every image of an engine. */
  image: string;
  /** Throws where this caller comes too late. */
  check(): Promise<void>;
};

export type Copies = {
  /** Fills a new copy; it does not count yet. */
  fill(copying: Copying): Promise<void>;
  empty(copying: Copying): Promise<void>;
  /** Puts the copy of `from` in the place of the data, which is empty. */
  bringBack(copying: Copying, from: number): Promise<void>;
};

/** The epoch of the copy that counts; null where there is none. */
export const newestCopy = ({ copies }: Pick<Marks, 'copies'>): number | null =>
  copies
    .filter(({ complete }) => complete)
    .reduce<number | null>((newest, { epoch }) => Math.max(newest ?? 0, epoch), null);

/** Removes copies up to `epoch`. */
export async function removeCopies(
  marks: MarkStore,
  { copies }: Pick<Marks, 'copies'>,
  epoch: number,
): Promise<void> {
  // First the marks: half a copy must not count.
  for (const { name, complete, epoch: its } of copies) if (complete && its <= epoch) await marks.remove(name);
  for (const { name, complete, epoch: its } of copies)
    if (!complete && its <= epoch) await marks.remove(name);
}

export function openCopies(docker: DockerApi, containers: Containers, network: string): Copies {
  async function run(
    copying: Copying,
    script: string,
    volumes: { from?: string; to: string },
  ): Promise<void> {
    const { engine_id, epoch, image, check } = copying;
    const mount = (Source: string, Target: string, labels: object) => ({
      Type: 'volume',
      Source,
      Target,
      ReadOnly: Target === '/from',
      VolumeOptions: {
        NoCopy: true,
        Labels: { [LABEL.engine_id]: engine_id, [LABEL.network]: network, ...labels },
      },
    });
    const copyLabels = { [LABEL.copy]: String(epoch), [LABEL.mark]: 'copy' };
    const body = {
      Image: image,
      User: '0:0',
      Entrypoint: ['/bin/sh', '-c', script],
      Cmd: [],
      StopSignal: 'SIGKILL',
      Healthcheck: { Test: ['NONE'] },
      Labels: {
        [LABEL.engine_id]: engine_id,
        [LABEL.epoch]: String(epoch),
        [LABEL.network]: network,
        [LABEL.copying]: 'true',
      },
      HostConfig: {
        NetworkMode: 'none',
        Mounts: [
          ...(volumes.from === undefined ? [] : [mount(volumes.from, '/from', {})]),
          mount(volumes.to, '/to', volumes.to === dataVolume(engine_id) ? {} : copyLabels),
        ],
        ReadonlyRootfs: true,
        CapDrop: ['ALL'],
        CapAdd: ['CHOWN', 'DAC_OVERRIDE', 'FOWNER'],
        SecurityOpt: ['no-new-privileges'],
        ...LIMITS,
      },
    };
    const query = { name: containerName(engine_id) };
    const { Id } = Created.parse(
      await docker.call({ method: 'POST', path: '/containers/create', query, body }),
    );
    try {
      await check();
      await docker.call({ method: 'POST', path: `/containers/${Id}/start` });
      const path = `/containers/${Id}/wait`;
      const waited = await docker.call({ method: 'POST', path, limit_ms: COPY_LIMIT_MS });
      if (Waited.parse(waited).StatusCode === 0) return;
      const { last_words } = await containers.report(Id);
      await check();
      throw new BackendFault(
        `The data of the engine could not be copied: ${last_words ?? 'it says not why'}`,
      );
    } finally {
      await containers.remove(Id);
    }
  }

  return {
    fill: (copying) => {
      const { engine_id, epoch } = copying;
      return run(copying, `${EMPTY} && ${COPY}`, {
        from: dataVolume(engine_id),
        to: copyVolume(engine_id, epoch),
      });
    },
    empty: (copying) => run(copying, EMPTY, { to: dataVolume(copying.engine_id) }),
    bringBack: (copying, from) =>
      run(copying, `${EMPTY} && ${COPY}`, {
        from: copyVolume(copying.engine_id, from),
        to: dataVolume(copying.engine_id),
      }),
  };
}
