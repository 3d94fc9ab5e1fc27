/**
 * Ends of engine processes, told the moment they are known.
 *
 * The processes we started report their end by themselves. One that an earlier orchestrator started is
 * nobody's child and reports to nobody, so it is looked at twice a second; a look is one small read. Without
 * this a crashed engine would be found by its next probe, half a minute later.
 */
import type { EngineExited } from './contract.ts';
import { isAlive, type ProcessIdentity } from './process.ts';

/** How often processes that are not our children are looked at, milliseconds. */
const POLL_MS = 500;

export type ExitWatch = {
  onExit(listener: (exit: EngineExited) => void): () => void;
  tell(exit: EngineExited): void;
  /** Watches a process that is not our child. */
  adopt(engine_id: string, identity: ProcessIdentity): void;
  close(): void;
};

/** `ended`: makes the report on an adopted process that is gone. */
export function watchExits(options: {
  ended(engine_id: string, identity: ProcessIdentity): Promise<EngineExited>;
  onError(error: unknown): void;
}): ExitWatch {
  const listeners = new Set<(exit: EngineExited) => void>();
  const adopted = new Map<string, ProcessIdentity>();
  let looking = false;

  const tell = (exit: EngineExited) => {
    for (const listener of listeners) listener(exit);
  };

  async function look(): Promise<void> {
    if (looking) return;
    looking = true;
    try {
      for (const [engine_id, identity] of adopted) {
        if (await isAlive(identity)) continue;
        adopted.delete(engine_id);
        tell(await options.ended(engine_id, identity));
      }
    } finally {
      looking = false;
    }
  }

  const timer = setInterval(() => void look().catch(options.onError), POLL_MS);
  timer.unref();

  return {
    onExit(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    tell,
    adopt(engine_id, { pid, started }) {
      adopted.set(engine_id, { pid, started });
    },
    close() {
      clearInterval(timer);
      listeners.clear();
    },
  };
}
