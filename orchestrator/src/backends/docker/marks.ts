/**
 * What Docker remembers of an engine beside its container: the fence (O22) and the marks of the destroyed.
 *
 * The problem is the one of ../fence.ts, and the rule is the same: whoever acts raises the fence to his epoch first and
 * then looks whether it is higher; after anything that takes time he looks again. But there is no folder here that all
 * orchestrators share, and Docker's labels cannot be changed. So the fence is made of volumes, the cheapest things in
 * Docker that have a name and labels: one for each epoch that was ever meant to run, and the highest counts.
 *
 * - `start`: an epoch for which somebody starts or stops. The container of that start keeps its secrets in it.
 * - `thaw`: an epoch for which a container of a lower one was let go on. It names that container: whose epoch is the
 *   highest of its own label and of the thaws that name it.
 * - `copied`: a copy of the data is complete (copies.ts); no epoch of the fence.
 * - `destroyed`: as in ../graveyard.ts, one for each call that destroys.
 *
 * Why it holds: a higher epoch raises its mark before it looks for containers; a lower one makes its container before
 * it looks at the marks. Whichever way their steps fall, one of the two sees the other: the higher removes the
 * container, or the lower takes it back itself. A container is only started after such a look, and looked at again.
 */
import { z } from 'zod';
import { type DockerApi, isDocker } from './api.ts';
import { dataVolume, LABEL, startVolume } from './names.ts';

/** How long the mark of a destroyed engine is kept, milliseconds; see ../graveyard.ts. */
const KEPT_MS = 24 * 60 * 60 * 1000;

type MarkKind = 'start' | 'thaw' | 'destroyed' | 'copied';

const Volume = z.object({
  Name: z.string(),
  CreatedAt: z.string().optional(),
  Labels: z.record(z.string(), z.string()).nullable(),
});
const Volumes = z.object({ Volumes: z.array(Volume).nullable() });
type Volume = z.infer<typeof Volume>;

/** All that volumes say of one engine. */
export type Marks = {
  /** The highest epoch seen; 0 where there is none. */
  fence: number;
  destroyed: boolean;
  /** Epochs by the container that was thawed to them. */
  thawed: ReadonlyMap<string, number>;
  /** The volumes that make the fence. */
  marks: readonly { name: string; epoch: number }[];
  /** Copies of the data, and the marks that one is complete. */
  copies: readonly { name: string; epoch: number; complete: boolean }[];
  /** Names of all volumes but the marks of its destruction. */
  volumes: readonly string[];
};

export type MarkStore = {
  of(engine_id: string): Promise<Marks>;
  /** Of all engines of this installation that anything is left of. */
  all(): Promise<Map<string, Marks>>;
  /** Epochs by container, of all that were thawed. */
  allThawed(): Promise<ReadonlyMap<string, number>>;
  raise(engine_id: string, epoch: number): Promise<void>;
  raiseByThaw(engine_id: string, epoch: number, container_id: string): Promise<void>;
  markCopied(engine_id: string, epoch: number): Promise<void>;
  /** `call_id`: of the call that destroys; the same one marks once. Gives the way to take the mark back. */
  markDestroyed(engine_id: string, call_id: string): Promise<() => Promise<void>>;
  /** Removes a volume; fine if it is not there. False: a container has it. */
  remove(volume: string): Promise<boolean>;
  /** Removes marks of destroyed engines older than a day at `now`, milliseconds since 1970. */
  prune(now: number): Promise<void>;
};

export function openMarks(docker: DockerApi, network: string): MarkStore {
  async function list(...labels: string[]): Promise<Volume[]> {
    const query = { filters: JSON.stringify({ label: labels }) };
    return Volumes.parse(await docker.call({ method: 'GET', path: '/volumes', query })).Volumes ?? [];
  }

  async function mark(name: string, kind: MarkKind, labels: Record<string, string>): Promise<void> {
    const body = { Name: name, Labels: { ...labels, [LABEL.mark]: kind, [LABEL.network]: network } };
    await docker.call({ method: 'POST', path: '/volumes/create', body });
  }

  async function remove(volume: string): Promise<boolean> {
    try {
      await docker.call({ method: 'DELETE', path: `/volumes/${volume}` });
      return true;
    } catch (error) {
      if (isDocker(error, 'gone')) return true;
      if (isDocker(error, 'conflict')) return false;
      throw error;
    }
  }

  return {
    async of(engine_id) {
      return marksIn(await list(`${LABEL.engine_id}=${engine_id}`));
    },
    async all() {
      const by_engine = Map.groupBy(await list(`${LABEL.network}=${network}`), ({ Labels }) => {
        return Labels?.[LABEL.engine_id] ?? '';
      });
      return new Map([...by_engine].map(([engine_id, volumes]) => [engine_id, marksIn(volumes)]));
    },
    async allThawed() {
      return marksIn(await list(`${LABEL.network}=${network}`, `${LABEL.mark}=thaw`)).thawed;
    },
    raise: (engine_id, epoch) => mark(startVolume(engine_id, epoch), 'start', startLabels(engine_id, epoch)),
    raiseByThaw: (engine_id, epoch, container_id) =>
      mark(`engine-thaw-${engine_id}-${epoch}-${container_id.slice(0, 12)}`, 'thaw', {
        ...startLabels(engine_id, epoch),
        [LABEL.thawed]: container_id,
      }),
    markCopied: (engine_id, epoch) =>
      mark(`engine-copied-${engine_id}-${epoch}`, 'copied', {
        [LABEL.engine_id]: engine_id,
        [LABEL.copy]: String(epoch),
      }),
    async markDestroyed(engine_id, call_id) {
      const name = `engine-destroyed-${engine_id}-${call_id}`;
      await mark(name, 'destroyed', { [LABEL.engine_id]: engine_id });
      return async () => void (await remove(name));
    },
    remove,
    async prune(now) {
      for (const { Name, CreatedAt } of await list(
        `${LABEL.network}=${network}`,
        `${LABEL.mark}=destroyed`,
      )) {
        if (Date.parse(CreatedAt ?? '') < now - KEPT_MS) await remove(Name);
      }
    },
  };
}

const startLabels = (engine_id: string, epoch: number) => ({
  [LABEL.engine_id]: engine_id,
  [LABEL.epoch]: String(epoch),
});

/** Labels of the volume of a start, for the container that brings it along. */
export const startVolumeLabels = (engine_id: string, epoch: number, network: string) => ({
  ...startLabels(engine_id, epoch),
  [LABEL.mark]: 'start' satisfies MarkKind,
  [LABEL.network]: network,
});

function marksIn(all: readonly Volume[]): Marks {
  const isGrave = ({ Labels }: Volume) => Labels?.[LABEL.mark] === ('destroyed' satisfies MarkKind);
  const volumes = all.filter((volume) => !isGrave(volume));
  const marks: { name: string; epoch: number }[] = [];
  const thawed = new Map<string, number>();
  for (const { Name, Labels } of volumes) {
    const epoch = Number(Labels?.[LABEL.epoch] ?? 0);
    if (epoch > 0) marks.push({ name: Name, epoch });
    const container_id = Labels?.[LABEL.thawed];
    if (container_id !== undefined) thawed.set(container_id, Math.max(epoch, thawed.get(container_id) ?? 0));
  }
  return {
    fence: Math.max(0, ...marks.map(({ epoch }) => epoch)),
    destroyed: all.some(isGrave),
    thawed,
    marks,
    copies: volumes.flatMap(({ Name, Labels }) => {
      const epoch = Number(Labels?.[LABEL.copy] ?? 0);
      const complete = Labels?.[LABEL.mark] === ('copied' satisfies MarkKind);
      return epoch > 0 ? [{ name: Name, epoch, complete }] : [];
    }),
    volumes: volumes.map(({ Name }) => Name),
  };
}

/** What a destroy removes: also a data volume that somebody made by hand, without labels. */
export const volumesOf = (engine_id: string, { volumes }: Marks) => [
  ...new Set([...volumes, dataVolume(engine_id)]),
];
