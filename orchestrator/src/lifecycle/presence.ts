/**
 * May this engine be handed out? The question of an admit that finds a `running` row.
 *
 * An orchestrator serves at once when it starts, before it has compared all rows with what is there, and an
 * engine may have died while nobody looked. So one whose good health is older than the start is asked after
 * first. From then on exits are told at once and probes find the rest. Source: O12, O24.
 */
import type { Backend, EngineExited } from '../backends/contract.ts';
import type { EngineRow } from '../registry/engines.ts';
import type { FailureEvidence } from './restarts.ts';

export type ExitDeps = {
  backend: Pick<Backend, 'is_running'>;
  fail(engine_id: string, epoch: number, reason: string, evidence: FailureEvidence): Promise<boolean>;
};

export type PresenceDeps = ExitDeps & {
  /** When this orchestrator started, by the database's clock. */
  since: Date;
};

export type ClaimedToRun = Pick<EngineRow, 'id' | 'epoch' | 'last_health_at'>;

/** False when the engine is gone; the registry knows it then. Where that is unknown it counts as there. */
export async function isThere(deps: PresenceDeps, engine: ClaimedToRun): Promise<boolean> {
  if (engine.last_health_at !== null && engine.last_health_at >= deps.since) return true;
  const presence = await deps.backend.is_running(engine.id);
  if (presence.state !== 'absent') return true;
  const evidence: FailureEvidence = { found_by: 'admit', exit: presence.exit };
  await deps.fail(engine.id, engine.epoch, 'The engine is gone.', evidence);
  return false;
}

/**
 * Takes a report that an engine's process has ended. Such a report may come late, of a process that has a successor
 * at the same epoch (one thawed, dead at once, and created anew by the same wake), so only an engine that is gone
 * now has failed.
 */
export async function noteExit({ backend, fail }: ExitDeps, exited: EngineExited): Promise<void> {
  const { engine_id, epoch, report } = exited;
  const presence = await backend.is_running(engine_id);
  if (presence.state !== 'absent') return;
  const how = report.signal ?? (report.code === null ? 'seen by nobody' : `exit code ${report.code}`);
  await fail(engine_id, epoch, `The engine ended (${how}).`, { found_by: 'exit', exit: report });
}
