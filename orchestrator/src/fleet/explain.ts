/**
 * Why is this engine in the state it is in, and what comes next? (O29)
 *
 * The answer people need at night is never in one place: a row says `failed`, the reason is in the audit log,
 * the time of the next try in a column, the rule that set it in the documentation. Here it is put together, by
 * the same tables the lifecycle runs by, from what is true at this moment.
 */
import type { Presence } from '../backends/contract.ts';
import type { HealthSettings, RestartPolicy } from '../config.ts';
import { DEPTHS, OPERATIONS, STATES } from '../lifecycle/machine.ts';
import type { EngineRow } from '../registry/engines.ts';
import type { IncidentRow } from '../registry/incidents.ts';
import type { OperationRow } from '../registry/operations.ts';
import { obstacleFor, type RolloutRow } from '../registry/rollouts.ts';

export type Facts = {
  engine: EngineRow;
  /** What the backend says of its process. */
  process: Presence['state'];
  /** The one that began last. */
  operation: OperationRow | null;
  /** The one under way in the fleet. */
  incident: IncidentRow | null;
  health: HealthSettings;
  restarts: RestartPolicy;
};

export type Explanation = {
  /** The rule that put the engine there, in words; `source`: where it is written. */
  rule: string;
  source: string;
  /** What happens next by itself; null: nothing does. */
  next: { what: string; at: Date } | null;
  /** What a person may do. */
  advice: string;
};

/** Whether an engine is to be upgraded, and why not. */
export function explainVersion(
  engine: EngineRow,
  rollout: RolloutRow | null,
  allowed_versions: readonly string[] | undefined,
): { wanted: string | null; upgrade: string } {
  if (rollout === null) return { wanted: null, upgrade: 'There is no roll-out.' };
  const { image, halted_reason } = rollout;
  const obstacle = obstacleFor(rollout, engine, allowed_versions);
  switch (obstacle) {
    case 'current':
      return { wanted: image, upgrade: 'It has the image of the current roll-out.' };
    case 'pinned':
      return { wanted: null, upgrade: 'Its provision named the version: no roll-out changes it.' };
    case 'not allowed':
      return {
        wanted: null,
        upgrade: "The product's policy (`allowed_versions`) does not allow the new image.",
      };
    case 'tried':
      return { wanted: image, upgrade: 'It was tried and did not get healthy; it has its old image again.' };
    case 'halted':
      return { wanted: image, upgrade: `Not while the roll-out is halted: ${halted_reason}` };
    case null:
      return {
        wanted: image,
        upgrade: rollout.eager
          ? 'Due when it is idle or boots in any case, as soon as the share has a place for it.'
          : 'Due when it boots in any case, if the share has a place for it then.',
      };
  }
}

/** Explains an engine. */
export function explain(facts: Facts): Explanation {
  const { engine, operation } = facts;
  if (operation !== null && operation.outcome === null) return explainOperation(operation);
  switch (engine.status) {
    case 'running':
      return explainRunning(facts);
    case 'sleeping':
      return explainSleeping(facts);
    case 'failed':
      return explainFailed(facts);
    case 'stopped':
      return {
        rule: STATES.stopped.meaning,
        source: 'bap-engine §5, O6',
        next: null,
        advice: 'POST /engines/{user_id}/start; an admit does not start it.',
      };
    case 'destroyed':
      return explainTombstone(engine);
    case 'provisioning':
    case 'destroying':
      return {
        rule: `${STATES[engine.status].meaning} But no operation is under way, which the orchestrator never leaves behind.`,
        source: 'O21',
        next: null,
        advice: 'Somebody has changed the database by hand. DELETE /engines/{user_id} removes the engine.',
      };
  }
}

function explainOperation({ kind, step, attempt, deadline, id }: OperationRow): Explanation {
  const { failure } = OPERATIONS[kind];
  const again = attempt > 1 ? `, taken up ${attempt} times` : '';
  const end = failure === undefined ? 'the state stays' : `the engine is ${failure}`;
  return {
    rule: `A ${kind} is under way, at step ${step}${again}. Until it ends nothing else is done to the engine.`,
    source: 'O7, O21',
    next: { what: `The ${kind} has failed if it has not ended; ${end} then.`, at: deadline },
    advice: `Wait, or watch it with GET /operations/${id}. If its orchestrator dies, another takes it up.`,
  };
}

function explainRunning({ engine, process, health }: Facts): Explanation {
  const probe = { what: 'It is probed.', at: engine.next_probe_at };
  if (process === 'unknown') {
    const seen = engine.health === 'ill' ? ` It is ill: ${engine.health_seen}.` : '';
    return {
      rule: `The backend cannot tell whether it is there.${seen} Unknown is not dead: nothing is done to it.`,
      source: 'O12',
      next: probe,
      advice: "See to the backend: the orchestrator's log says what stands in its way.",
    };
  }
  switch (engine.health) {
    case 'ill':
      return {
        rule: `Ill for ${engine.ill_probes} of ${health.max_failures} probes in a row: ${engine.health_seen}.`,
        source: 'bap-engine §7, O11',
        next: probe,
        advice: `Look at the engine's log. After ${health.max_failures} it is failed and restarted by itself.`,
      };
    case 'reduced':
      return {
        rule: `It serves, but ${engine.health_seen}. That is recorded and never a reason for a restart.`,
        source: 'O11',
        next: probe,
        advice: 'See to the model provider and its key, or to the catalog; the engine recovers by itself.',
      };
    case 'ok':
    case null:
      return {
        rule: STATES.running.meaning,
        source: 'bap-engine §5',
        next: engine.next_idle_check_at < probe.at ? idleCheck(engine) : probe,
        advice: 'Nothing to do.',
      };
  }
}

const idleCheck = (engine: EngineRow) => ({
  what: 'It is asked whether it is idle.',
  at: engine.next_idle_check_at,
});

function explainSleeping({ engine, operation }: Facts): Explanation {
  const depth = engine.sleep_depth ?? 'label';
  const byPerson = operation?.kind === 'sleep' && operation.actor !== 'system';
  const cause = byPerson
    ? `Put to sleep by ${operation.actor}.`
    : 'It was idle for longer than the policy allows.';
  return {
    rule: `${cause} ${DEPTHS[depth].meaning}`,
    source: 'O4, O5',
    next:
      depth === 'doze' ? { what: 'It may be put into a deeper sleep.', at: engine.next_idle_check_at } : null,
    advice: 'Admit with `auto_wake: true`, or POST /engines/{user_id}/wake.',
  };
}

function explainTombstone({ tombstone_until }: EngineRow): Explanation {
  return {
    rule: STATES.destroyed.meaning,
    source: 'O30',
    next: tombstone_until && { what: 'It is removed for good, with its brain.', at: tombstone_until },
    advice:
      'POST /engines/{user_id}/restore brings it back until then; DELETE /engines/{user_id}?retain=false removes it now.',
  };
}

function explainFailed({ engine, operation, incident, restarts }: Facts): Explanation {
  const { restart_at, restart_attempts } = engine;
  const reason = engine.failure_reason ?? 'No reason is known.';
  if (operation?.kind === 'destroy') {
    return {
      rule: `${reason} A destroy that fails may have removed a part: the engine cannot come up again.`,
      source: 'O9, O30',
      next: null,
      advice: 'DELETE /engines/{user_id} once more.',
    };
  }
  if (restart_at === null) {
    const usedUp = restart_attempts >= restarts.max_attempts;
    return {
      rule: `${reason} ${usedUp ? `All ${restarts.max_attempts} restarts are used up.` : 'It is not restarted by itself.'}`,
      source: 'O9, O10',
      next: null,
      advice: "Remove the cause (see the engine's log), then POST /engines/{user_id}/start, or DELETE it.",
    };
  }
  const attempt = `Restart ${restart_attempts + 1} of ${restarts.max_attempts}`;
  const held = incident !== null && incident.resumes_at > restart_at;
  return {
    rule: held ? `${reason} Many engines turned ill at once: restarts pause.` : reason,
    source: held ? 'O11' : 'O9, O10',
    next: { what: `${attempt}.`, at: held ? incident.resumes_at : restart_at },
    advice: 'Wait, or admit with `auto_wake: true`, which restarts it now.',
  };
}
