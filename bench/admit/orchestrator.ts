/**
 * The orchestrator under measurement: its own composition and its own server, configured as in production, without
 * the background loops. They would probe a million engines that are nothing but rows.
 */
import { subprocessBackend } from '../../orchestrator/src/backends/subprocess.ts';
import { loadConfig } from '../../orchestrator/src/config.ts';
import { openCore } from '../../orchestrator/src/core.ts';
import { noFailpoint } from '../../orchestrator/src/failpoints.ts';
import { listen } from '../../orchestrator/src/http/server.ts';
import { askOverHttp } from '../../orchestrator/src/lifecycle/ask.ts';
import { systemClock } from '../../orchestrator/src/lifecycle/clock.ts';
import { openLog } from '../../orchestrator/src/observe/log.ts';
import { watchProcess } from '../../orchestrator/src/observe/process.ts';
import { openDb } from '../../orchestrator/src/registry/db.ts';
import { migrate } from '../../orchestrator/src/registry/migrate.ts';
import { answerParent } from '../support/child.ts';

const config = loadConfig(process.env, '/');
const log = openLog(1, config.log_level);
const db = openDb(config.database_url, (err) => log.warn({ err }, 'a database connection broke'));

answerParent(async () => {
  await migrate(db);
  const backend = subprocessBackend({
    root: config.data_dir,
    entry: '',
    catalog_dir: config.catalog_dir,
    environment: { PATH: process.env.PATH ?? '' },
    onError: (err) => log.warn({ err }),
    failpoint: noFailpoint,
  });
  const core = await openCore(config, {
    db,
    backend,
    clock: systemClock,
    ask: askOverHttp,
    log,
    failpoint: noFailpoint,
    random: Math.random,
    owner: 1,
    process_watch: watchProcess(),
  });
  return (await listen(core, '127.0.0.1', 0)).url;
});
