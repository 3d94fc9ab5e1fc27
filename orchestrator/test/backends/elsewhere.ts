/**
 * One call of a backend by a process of its own: `node elsewhere.ts '{…}'`. Prints `done` or `refused`; with `dies_at`
 * it ends itself at that point.
 */
import { spawnSync } from 'node:child_process';
import { type Backend, type EngineSpec, StaleEpoch } from '../../src/backends/contract.ts';
import { type DockerSettings, dockerBackend } from '../../src/backends/docker/docker.ts';
import { type SubprocessOptions, subprocessBackend } from '../../src/backends/subprocess.ts';
import type { HitFailpoint } from '../../src/failpoints.ts';
import { armFailpoint } from '../support/arm_failpoint.ts';
import type { Place } from './conformance/place.ts';

type Opened =
  | { kind: 'subprocess'; options: Pick<SubprocessOptions, 'root' | 'entry' | 'catalog_dir' | 'environment'> }
  | { kind: 'docker'; options: DockerSettings };

/** A backend of a place that is described so. */
export function open({ kind, options }: Opened, failpoint?: HitFailpoint): Backend {
  const onError = (error: unknown) => {
    throw error;
  };
  return kind === 'docker'
    ? dockerBackend({ ...options, onError, failpoint })
    : subprocessBackend({ ...options, onError, failpoint });
}

/** `Place.elsewhere` for backends that are described so; `noted`: a file for where it died. */
export const elsewhere =
  (opened: Opened, noted: string): Place['elsewhere'] =>
  (act, engine, dies_at) => {
    const call = JSON.stringify({ opened, act, engine, dies_at, noted });
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, [import.meta.filename, call], {
      encoding: 'utf8',
    });
    if (signal === 'SIGKILL' && dies_at !== undefined) return 'died';
    if (status === 0 && (stdout === 'done' || stdout === 'refused')) return stdout;
    throw new Error(`${act} elsewhere ended with ${signal ?? status}: ${stdout}${stderr}`);
  };

if (import.meta.main) await actOnce(JSON.parse(process.argv[2] ?? ''));

async function actOnce(call: {
  opened: Opened;
  act: string;
  engine: EngineSpec;
  dies_at?: string;
  noted: string;
}) {
  const { opened, act, engine, dies_at, noted } = call;
  const { engine_id, epoch } = engine;
  const armed = dies_at && armFailpoint({ point: dies_at, signal: 'SIGKILL', file: noted });
  const backend = open(opened, armed || undefined);
  try {
    if (act === 'create') await backend.create(engine, new AbortController().signal);
    else if (act === 'stop') await backend.stop(engine_id, { epoch });
    else if (act === 'revert') await backend.revert(engine_id, { epoch, image: engine.image });
    else await backend.destroy(engine_id, { epoch });
    process.stdout.write('done');
  } catch (error) {
    if (!(error instanceof StaleEpoch)) throw error;
    process.stdout.write('refused');
  } finally {
    await backend.close();
  }
}
