/**
 * An orchestrator as a process of its own, so that a test can kill it: `node run_orchestrator.ts`, configured
 * by the environment. Prints its address and waits.
 */
import { pino } from 'pino';
import { startOrchestrator } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { createLog } from '../../src/observe/log.ts';

const config = loadConfig(process.env, '/');
const log = createLog('info', pino.destination(2));
const engine_entry = `${import.meta.dirname}/stand_in_engine.ts`;
const { url } = await startOrchestrator({ config, log, engine_entry });
console.log(url);
