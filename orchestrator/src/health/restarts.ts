/**
 * Restarts of failed engines, when their time has come and the breaker lets them.
 *
 * The time stands in the registry; whichever orchestrator comes first claims the restart and begins an
 * ordinary operation. Boots are the heaviest thing an engine ever does to its machine, so each orchestrator
 * has only so many under way; a user who asks for an engine (admit) does not wait in this line.
 */
import { OrchestratorError } from '../errors.ts';
import type { Lifecycle } from '../lifecycle/operations.ts';
import type { Log } from '../observe/log.ts';
import type { Db } from '../registry/db.ts';
import type { ClaimedRestart } from '../registry/health.ts';
import { grantRestarts } from './breaker.ts';

/** Restarts that one orchestrator has under way. */
const PARALLEL = 8;

export type RestartDeps = { db: Db; lifecycle: Lifecycle; log: Log };

/** Gives the run of a loop; `onFree` is called when a restart has ended and another may begin. */
export function restarter(deps: RestartDeps, onFree: () => void): () => Promise<void> {
  const { db, lifecycle, log } = deps;
  let underWay = 0;

  async function restart(claimed: ClaimedRestart): Promise<void> {
    const operation = await lifecycle.restartClaimed(claimed);
    await lifecycle.outcome(operation.id);
  }

  return async () => {
    const { restarts, incident } = await grantRestarts(db, PARALLEL - underWay);
    if (incident?.began) log.error({ incident }, 'many engines turned ill at once: restarts pause');
    if (incident?.ended) log.warn({ incident }, 'the incident is over');
    for (const claimed of restarts) {
      underWay += 1;
      restart(claimed)
        // What a failed one means is in the registry; a refusal means that somebody else was faster.
        .catch((err) =>
          log.info({ engine_id: claimed.engine_id, code: codeOf(err), err }, 'a restart did not succeed'),
        )
        .finally(() => {
          underWay -= 1;
          onFree();
        });
    }
  };
}

const codeOf = (error: unknown) => (error instanceof OrchestratorError ? error.code : undefined);
