/**
 * What a container's state says of its engine.
 *
 * Docker starts an engine that has ended again by itself (`unless-stopped`), at the same epoch: that counts as present,
 * or each crash would be mended twice. But two kinds of end are not mended by starting again: a code by which the Engine
 * says so, and one that follows its start again and again. Those are called off here, and are absent, with how they
 * ended: a boot then fails at once, with its reason, and a running engine comes to the orchestrator's own restarts, which
 * count, pause and give up.
 *
 * While engines boot this is asked for each of them every few milliseconds, so all who ask at the same time share a look.
 */
import { EngineExit } from '@september/contract';
import type { Presence } from '../contract.ts';
import { isDocker } from './api.ts';
import { COPYING, type Container, type Containers, epochOf, type Inspected } from './containers.ts';
import type { MarkStore } from './marks.ts';
import { shareLooks } from './shared_look.ts';

/** Starting the same again changes nothing. */
const FINAL_CODES: readonly number[] = [EngineExit.BAD_CONFIG, EngineExit.STALE_EPOCH];
/** So many starts by Docker that did not last are enough. */
const MAX_QUICK_RESTARTS = 3;
/** A run below this has not lasted, milliseconds; Docker draws the line there too. */
const QUICK_MS = 10_000;

export type Presences = {
  /** Throws `DockerError` where the daemon does not say. */
  of(engine_id: string): Promise<Presence>;
  all(): Promise<{ engine_id: string; presence: Presence }[]>;
};

type Thawed = ReadonlyMap<string, number>;

export function openPresences(containers: Containers, marks: MarkStore): Presences {
  const look = shareLooks(async (engine_ids) => {
    const [only] = engine_ids;
    const one = async () => [await containers.find(only ?? '')].filter((found) => found !== null);
    const [found, thawed] = await Promise.all([
      engine_ids.length === 1 ? one() : containers.all(),
      marks.allThawed(),
    ]);
    return { by_engine: new Map(found.map((container) => [container.engine_id, container])), thawed };
  });

  async function judge(container: Container, thawed: Thawed): Promise<Presence> {
    const at_once = byState(container, thawed);
    if (at_once !== null) return at_once;
    try {
      const seen = await containers.inspect(container.id);
      if (seen.State.Status === 'restarting' && isWorthAnother(seen))
        return present(container, thawed, false);
      if (seen.State.Status === 'restarting') await containers.end(container, 0);
      else if (seen.State.Status !== 'exited' && seen.State.Status !== 'dead') {
        return byState({ ...container, state: seen.State.Status }, thawed) ?? NOTHING;
      }
      return { state: 'absent', exit: await containers.report(container.id, seen.State.ExitCode) };
    } catch (error) {
      // Removed while we looked.
      if (isDocker(error, 'gone')) return NOTHING;
      throw error;
    }
  }

  return {
    async of(engine_id) {
      const { by_engine, thawed } = await look(engine_id);
      const container = by_engine.get(engine_id);
      return container === undefined ? NOTHING : await judge(container, thawed);
    },
    async all() {
      const [found, all_marks] = await Promise.all([containers.all(), marks.all()]);
      const listed = new Map<string, Presence>();
      // Also what is only data by now.
      for (const [engine_id, { volumes }] of all_marks) {
        if (volumes.length > 0) listed.set(engine_id, NOTHING);
      }
      for (const container of found) {
        const thawed = all_marks.get(container.engine_id)?.thawed ?? new Map();
        // How it ended is told to who asks for that engine.
        const ended = container.state === 'exited' || container.state === 'dead';
        listed.set(container.engine_id, ended ? NOTHING : await judge(container, thawed));
      }
      return [...listed].map(([engine_id, presence]) => ({ engine_id, presence }));
    },
  };
}

const NOTHING: Presence = { state: 'absent', exit: null };

function present(container: Container, thawed: Thawed, frozen: boolean): Presence {
  const epoch = epochOf(container, { thawed });
  if (Number.isNaN(epoch)) return { state: 'unknown', reason: 'The epoch on its container cannot be read.' };
  return { state: 'present', epoch, frozen };
}

/** What the state alone says; null where it takes a closer look. */
function byState(container: Container, thawed: Thawed): Presence | null {
  switch (container.state) {
    case 'running':
      return present(container, thawed, false);
    case 'paused':
      return present(container, thawed, true);
    case 'created':
    case 'removing':
    case COPYING:
      return NOTHING;
    case 'restarting':
    case 'exited':
    case 'dead':
      return null;
    default:
      return { state: 'unknown', reason: `Docker calls the state of its container \`${container.state}\`.` };
  }
}

function isWorthAnother({ RestartCount, State }: Inspected): boolean {
  if (FINAL_CODES.includes(State.ExitCode)) return false;
  const lasted_ms = Date.parse(State.FinishedAt) - Date.parse(State.StartedAt);
  return RestartCount < MAX_QUICK_RESTARTS || lasted_ms >= QUICK_MS;
}
