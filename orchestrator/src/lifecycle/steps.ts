/**
 * The steps of which operations are made. Each can be done twice, and by another orchestrator than the one
 * that began: a port already claimed is kept, a process of the same epoch is taken as it is, what is gone
 * is gone. So an operation that was cut off anywhere is simply walked from its first step again.
 */
import { EngineExit } from '@september/contract';
import {
  type Backend,
  type EngineExitReport,
  type EngineSpec,
  PortUnavailable,
} from '../backends/contract.ts';
import { OrchestratorError } from '../errors.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Db } from '../registry/db.ts';
import { type EngineRow, noteReverted } from '../registry/engines.ts';
import { claimPort, type PortRange, setPortAside } from '../registry/ports.ts';
import type { Ask } from './ask.ts';
import type { Clock } from './clock.ts';
import { keyEnvironment, keysOf, tellNextKey } from './key_rotation.ts';
import type { Step } from './machine.ts';
import { probe } from './probe.ts';
import { confirmIdle, ProcessGone } from './sleep.ts';

/** How often an engine that boots is looked at, milliseconds; a boot takes some 200. */
const BOOT_POLL_MS = 25;
/** Longest piece of an engine's log that goes into a failure reason, characters. */
const MAX_LAST_WORDS = 500;

export type StepDeps = {
  db: Db;
  backend: Backend;
  clock: Clock;
  ask: Ask;
  master_keys: MasterKeys;
  /** What engines get beside the contract's own variables. */
  engine_environment: Record<string, string>;
  ports: PortRange;
  /** How long a replaced key stays good, seconds. */
  rotate_overlap_s: number;
};

/** One take-up of an operation. `evidence` is filled by the steps and kept with the operation. */
export type StepContext = {
  engine: EngineRow;
  epoch: number;
  /** What is brought up. */
  image: string;
  /** How long the boot may take, milliseconds; the operation may have more time than that. */
  boot_within_ms: number;
  /** A sleep or upgrade: for how long the engine must have been quiet, seconds. */
  quiet_s: number;
  /** Fires at the deadline and when the orchestrator ends. */
  signal: AbortSignal;
  evidence: {
    port?: number | null;
    url?: string;
    host_url?: string | null;
    last_probe?: string;
    exit?: Omit<EngineExitReport, 'last_words'>;
    /** A sleep found no process. */
    gone?: boolean;
    /** Of the key by which the Engine was found to open. */
    key_hash?: string;
    /** A rotation: until when the old key works, ISO 8601. */
    old_key_valid_until?: string;
  };
};

/** Another program listens on the port the engine was given; it has been set aside, begin again with the next. */
export class PortTaken extends Error {
  override name = 'PortTaken';
}

/** Does one step. Throws `OrchestratorError`, `PortTaken`, or what the backend threw. */
export async function perform(step: Step, deps: StepDeps, context: StepContext): Promise<void> {
  const { backend, db } = deps;
  const { engine, epoch, evidence } = context;
  switch (step) {
    case 'allocate_port':
      evidence.port = backend.publishes_ports ? await claimPort(db, engine.id, deps.ports) : null;
      return;
    case 'create': {
      const spec: EngineSpec = {
        engine_id: engine.id,
        epoch,
        port: evidence.port ?? null,
        image: context.image,
        environment: { ...deps.engine_environment, ...keyEnvironment(engine, deps.rotate_overlap_s) },
      };
      const endpoint = await backend.create(spec, context.signal).catch(async (error) => {
        if (!(error instanceof PortUnavailable)) throw error;
        await setPortAside(db, engine.id);
        throw new PortTaken();
      });
      evidence.url = endpoint.url;
      evidence.host_url = endpoint.host_url;
      return;
    }
    case 'await_health':
      return await awaitHealth(deps, context);
    case 'stop':
      return await backend.stop(engine.id, { epoch });
    case 'snapshot':
      return await backend.snapshot(engine.id, { epoch, image: engine.engine_version });
    case 'revert':
      if (!engine.revert_due) return;
      if (!(await backend.revert(engine.id, { epoch, image: engine.engine_version }))) {
        // Its old image must not have a brain that a newer one has written.
        throw new OrchestratorError('BACKEND_ERROR', 'The copy of its data from before the upgrade is gone.');
      }
      return await noteReverted(db, engine.id, epoch);
    case 'thaw':
      if (!(await backend.thaw(engine.id, { epoch }))) throw new ProcessGone();
      return;
    case 'confirm_idle':
      return await confirmIdle(deps, engine, context.quiet_s, context.signal);
    case 'freeze':
      if (!(await backend.freeze(engine.id, { epoch }))) throw new ProcessGone();
      return;
    case 'rotate_key': {
      const rotated = await tellNextKey(deps, engine, context.signal, (seen) => {
        evidence.last_probe = seen;
      });
      Object.assign(evidence, rotated);
      return;
    }
    case 'remove':
      return await backend.destroy(engine.id, { epoch });
  }
}

async function awaitHealth(deps: StepDeps, context: StepContext): Promise<void> {
  const { engine, evidence } = context;
  const url = evidence.url ?? engine.url;
  if (url === null) throw new TypeError('await_health comes after create, or on an engine that has run');
  const keys = keysOf(engine, deps.master_keys);
  const overdue_at = deps.clock.now() + context.boot_within_ms;
  for (;;) {
    let seen: string | null = null;
    for (const { key_hash, api_key } of keys) {
      seen = await probe(deps.ask, url, api_key, context.signal);
      if (seen !== null) continue;
      evidence.key_hash = key_hash;
      break;
    }
    // Also after a good answer: a process that ended meanwhile cannot have given it.
    const presence = await deps.backend.is_running(engine.id);
    if (presence.state === 'absent') {
      if (presence.exit !== null) {
        // Without its last words: those of a crash may say anything.
        const { code, signal } = presence.exit;
        evidence.exit = { code, signal };
      }
      if (presence.exit?.code === EngineExit.PORT_TAKEN) {
        await setPortAside(deps.db, engine.id);
        throw new PortTaken();
      }
      if (evidence.url === undefined) throw new ProcessGone();
      throw new OrchestratorError('BACKEND_ERROR', whyItEnded(presence.exit));
    }
    if (seen === null) return;
    evidence.last_probe = seen;
    if (deps.clock.now() >= overdue_at) {
      const why = `The engine was not healthy within ${context.boot_within_ms / 1000} s. Last seen: ${seen}.`;
      throw new OrchestratorError('BOOT_TIMEOUT', why);
    }
    await deps.clock.sleep(BOOT_POLL_MS, context.signal);
  }
}

/** The codes an Engine gives on purpose come with its last words, which say what to do; a crash does not. */
function whyItEnded(exit: EngineExitReport | null): string {
  const how = exit === null ? '' : ` (${exit.signal ?? `exit code ${exit.code}`})`;
  const words = exit?.last_words?.slice(0, MAX_LAST_WORDS) ?? 'see its log';
  switch (exit?.code) {
    case EngineExit.BAD_CONFIG:
      return `The engine refused its configuration: ${words}`;
    case EngineExit.BRAIN_LOCKED:
      return `Another process has the engine's brain open: ${words}`;
    case EngineExit.STALE_EPOCH:
      return `The engine's brain is held by a newer epoch: ${words}`;
    default:
      return `The engine ended before it was ready${how}; its log says why.`;
  }
}
