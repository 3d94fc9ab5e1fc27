/**
 * Everything that is looked at: before a start in production what a start needs, so that it is refused with all that
 * is missing at once instead of with the first; for `bap-engine doctor` the rest too.
 */
import { ENGINE_ENTRY, StartError } from '../app.ts';
import { fencesOf } from '../backends/open.ts';
import type { Config } from '../config.ts';
import { type Db, openDb } from '../registry/db.ts';
import { checkDatabase, checkServer } from './database.ts';
import { checkCatalog, checkDataFolder, checkEngineProgram } from './files.ts';
import type { Finding } from './finding.ts';
import { checkEpochs, checkMasterKey, checkPorts } from './registry.ts';

/** The whole look. `db`: null where there is none to ask. `onStep` hears what is looked at next. */
export async function examine(
  config: Config,
  db: Db | null,
  onStep: (what: string) => void,
): Promise<Finding[]> {
  const findings = [configuration(config), ...(await machine(config))];
  if (db === null) {
    const found = 'The embedded database does not run.';
    return [
      ...findings,
      { check: 'database', verdict: 'warning', found, advice: 'Run `npm start` in this folder.' },
    ];
  }
  onStep('the database');
  const server = await checkServer(db);
  findings.push(server.finding);
  if (!server.fit) return findings;
  const state = await checkDatabase(db);
  findings.push(...state);
  // Without its tables there is nothing to compare.
  const [schema] = state;
  if (schema?.verdict !== 'ok') return findings;
  onStep('keys and ports');
  findings.push(await checkMasterKey(db, config.master_keys));
  findings.push(await checkPorts(db, { min: config.port_min, max: config.port_max }));
  // What does not answer has been found already.
  if (findings.some(({ check, verdict }) => check === 'docker' && verdict === 'problem')) return findings;
  onStep('the epochs of engines');
  findings.push(await checkEpochs(db, () => fencesOf(config)));
  return findings;
}

/** Throws `StartError` with every problem that would keep an orchestrator of this configuration from working. */
export async function refuseUnfit(config: Config): Promise<void> {
  const db = openDb(config.database_url, () => {});
  try {
    const findings = [...(await machine(config)), (await checkServer(db)).finding];
    const problems = findings.filter(({ verdict }) => verdict === 'problem');
    if (problems.length === 0) return;
    const lines = problems.map(({ check, found, advice }) => `${check}: ${found} ${advice ?? ''}`.trimEnd());
    throw new StartError(['The orchestrator cannot start:', ...lines].join('\n  '));
  } finally {
    await db.end();
  }
}

async function machine({ backend, docker, engine_image, data_dir, catalog_dir }: Config): Promise<Finding[]> {
  if (backend === 'docker') {
    const { checkDocker } = await import('./docker.ts');
    return await checkDocker(docker, engine_image);
  }
  return await Promise.all([
    checkEngineProgram(ENGINE_ENTRY),
    checkDataFolder(data_dir),
    checkCatalog(catalog_dir),
  ]);
}

function configuration({ mode }: Config): Finding {
  return { check: 'configuration', verdict: 'ok', found: `Every variable can be used (${mode}).` };
}
