/**
 * One call of the subprocess backend by a process of its own: `node subprocess_elsewhere.ts '{…}'`. Prints `done`
 * or `refused`; with `dies_at` it ends itself at that point.
 */
import { StaleEpoch } from '../../src/backends/contract.ts';
import { subprocessBackend } from '../../src/backends/subprocess.ts';
import { armFailpoint } from '../support/arm_failpoint.ts';

const { root, entry, act, engine, dies_at, noted } = JSON.parse(process.argv[2] ?? '');
const { engine_id, epoch } = engine;
const backend = subprocessBackend({
  root,
  entry,
  catalog_dir: '/catalog',
  environment: { PATH: process.env.PATH ?? '' },
  onError: (error) => {
    throw error;
  },
  failpoint: dies_at && armFailpoint({ point: dies_at, signal: 'SIGKILL', file: noted }),
});
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
