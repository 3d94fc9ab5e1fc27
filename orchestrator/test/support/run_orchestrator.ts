/**
 * An orchestrator as a process of its own, so that a test can kill it: `node run_orchestrator.ts`, configured
 * by the environment. Prints its address and waits. `ORCH_FAILPOINT` names the point at which it sends itself
 * `ORCH_FAILPOINT_SIGNAL`, after it has noted so in `ORCH_FAILPOINT_FILE`.
 */
import { flushCompileCache } from 'node:module';
import { pino } from 'pino';
import { startOrchestrator } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { createLog } from '../../src/observe/log.ts';
import { armFailpoint } from './arm_failpoint.ts';
import { programs } from './images.ts';

const config = loadConfig(process.env, '/');
const log = createLog('info', pino.destination(2));
const engine_entry = programs(config.data_dir);
const { ORCH_FAILPOINT: point, ORCH_FAILPOINT_SIGNAL: signal, ORCH_FAILPOINT_FILE: file } = process.env;
const failpoint =
  point && file
    ? armFailpoint({ point, file, signal: signal === 'SIGSTOP' ? signal : 'SIGKILL' })
    : undefined;
const { url } = await startOrchestrator({ config, log, engine_entry, failpoint });
console.log(url);
flushCompileCache();
