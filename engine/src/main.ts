import { flushCompileCache } from 'node:module';

/**
 * The whole Engine on one screen: read, check, open, listen, drain. Start it by hand with `node
 * engine/src/main.ts`; why it did not start is its last log line and its exit code (contract, `EngineExit`).
 * Source: engine-runtime, "Components".
 */

if (Number.parseInt(process.versions.node, 10) < 24) {
  console.error(
    `The Engine needs Node 24 or newer, this is ${process.version}. In the repository: npm start.`,
  );
  process.exit(64);
}
const { createLog, errorFields } = await import('./observe/log.ts');
const { StartError } = await import('./errors.ts');
const { PATTERNS } = await import('./secrets/patterns.ts');
const { createScrubber } = await import('./secrets/scrubber.ts');

/** Turns in flight get this long after SIGTERM, then are aborted and recorded. */
const DRAIN_MS = 30_000;

let log = createLog('INFO', createScrubber(PATTERNS));
process.on('uncaughtException', die);
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

const uptime = () => process.uptime();
const now = () => Date.now();
const starting = { code: 'NOT_READY', message: 'The Engine is starting.' } as const;

/** Ends what runs; until something does, there is nothing to end. */
let drain = async () => {};
let stopping = false;

try {
  await start();
} catch (error) {
  die(error);
}

async function start(): Promise<void> {
  const { loadConfig } = await import('./config.ts');
  const config = loadConfig();
  const secrets = {
    shown: createScrubber(PATTERNS, config.secrets),
    model: createScrubber(config.scrub_tool_results ? PATTERNS : [], config.secrets),
  };
  log = createLog(config.log_level, secrets.shown);
  for (const warning of config.warnings) log.warn(warning);

  const { listen } = await import('./http/server.ts');
  const { unready } = await import('./http/unready.ts');
  const server = await listen(config, unready('starting', starting, uptime));

  const { openBrain } = await import('./brain/brain.ts');
  const { BrainMismatch } = await import('./brain/migrate.ts');
  const replay_ttl_ms = config.replay_ttl_s * 1000;
  const brainLog = log.named('infra.brain');
  const brain = await openBrain({
    path: config.brain_path,
    migrations_dir: config.migrations_dir,
    epoch: config.epoch,
    key_hash: config.key.hash,
    key_overlap: { min_s: config.key.min_overlap_s, max_s: config.key.max_overlap_s },
    replay_ttl_ms,
    now,
    onError: (error) => brainLog.error('The brain could not be written', { extra: errorFields(error) }),
  }).catch((error) => {
    if (!(error instanceof BrainMismatch)) throw error;
    brainLog.error(error.message);
    log.error('Serving only /health', { extra: { url: server.url } });
    server.serve(unready('error', { code: 'MIGRATION_REQUIRED', message: error.message }, uptime));
  });
  if (brain === undefined) return;
  if (brain.migrated.length > 0)
    brainLog.info('Migrated the brain', { extra: { migrations: brain.migrated } });

  const { openRoots } = await import('./sandbox/roots.ts');
  const { createGuard } = await import('./net/guard.ts');
  const { createEgress } = await import('./sandbox/egress.ts');
  const { LIMITS, limitsWithin } = await import('./sandbox/limits.ts');
  const { threadsAllowed } = await import('./sandbox/own_group.ts');
  const { findHost } = await import('./sandbox/host.ts');
  const { createSandbox } = await import('./sandbox/sandbox.ts');
  const { createPageReader } = await import('./media/page.ts');
  const { createPdfReader } = await import('./media/pdf.ts');
  const { platformTools } = await import('./tools/platform.ts');
  const pdf = createPdfReader();
  const guard = createGuard(config.allowed_private_hosts);
  const roots = openRoots(config.roots, config.brain_path);
  const sandbox = createSandbox({
    mode: config.sandbox_mode,
    roots,
    catalog_dir: config.catalog_dir,
    findHost: () => findHost(config.path, process.execPath),
    path: config.path,
    node: process.execPath,
    limits: limitsWithin(LIMITS, threadsAllowed()),
    egress: createEgress(guard, config.sandbox_allowed_hosts),
    engine_port: server.port,
    log: log.named('sandbox'),
    now,
  });
  const platform = platformTools(roots, sandbox, config.media.ingest ? brain.ingestion : undefined, {
    guard,
    pages: createPageReader(),
    pdf,
    search: config.search,
  });

  const { loadCatalog } = await import('./catalog/catalog.ts');
  const catalog = await loadCatalog(config.catalog_dir, {
    tools: platform.map((tool) => tool.definition.name),
    default_agent: config.default_agent,
    hooks: config.hooks.load,
    // To all, so that the list of tools is the same in every task, whatever was attached to it.
    everyone: config.media.ingest ? ['ingestion_read'] : [],
  });
  const { withDefined } = await import('./tools/defined.ts');
  const { createToolRunner } = await import('./tools/runner.ts');
  const tools = createToolRunner(withDefined(platform, catalog.tools), { log: log.named('tools') });

  const { createHerald } = await import('./herald/index.ts');
  const { randomId: newId } = await import('./ids.ts');
  const { createCacheMonitor } = await import('./turn/cache_monitor.ts');
  const { createContexts } = await import('./turn/context.ts');
  const { createHooks } = await import('./turn/hooks.ts');
  const { createGuards } = await import('./turn/guards.ts');
  const { createPlanner } = await import('./turn/planner.ts');
  const { createPermissions } = await import('./permissions/permissions.ts');
  const { soulOnly } = await import('./turn/recall.ts');
  const { createSideCall } = await import('./turn/side_call.ts');
  const { createCoordinator } = await import('./turn/coordinator.ts');
  const herald = createHerald({
    ...config.model,
    media_error_recovery: config.media.recover,
    models: catalog.models,
    log: log.named('herald'),
  });
  const { max_tokens, light_model, planner_model } = config.model;
  const guards = createGuards({
    ...config,
    max_tokens: config.turn_max_tokens,
    max_cost_usd: config.turn_max_cost_usd,
  });
  const asking = { herald, guards, spent: brain.turns.spent, max_tokens };
  const plannerLog = log.named('engine_core.planner');
  const plan =
    planner_model === undefined
      ? undefined
      : createPlanner({
          model_calls: brain.model_calls,
          ask: createSideCall(asking, planner_model, plannerLog),
          log: plannerLog,
        });
  const contexts = createContexts({
    brain,
    memory: soulOnly(catalog.soul),
    tools: tools.definitions,
    window: (model) => herald.info(model).context_window,
    max_tokens,
    compact: config.compact,
    light_model,
    ask: createSideCall(asking, light_model, log.named('engine_core.compaction')),
    plan,
    now,
  });
  const hooks = createHooks({
    settings: catalog.hooks,
    enabled: config.hooks,
    run: (command, signal) => sandbox.run(command, { kind: 'hook' }, signal),
    cwd: config.catalog_dir,
    log: log.named('engine_core.hooks'),
  });
  const coordinator = createCoordinator({
    brain,
    catalog,
    herald,
    contexts,
    guards,
    // The demo model has no cache to find anything in.
    secrets,
    cache_monitor: config.cache_monitor && herald.provider !== 'demo' ? createCacheMonitor() : undefined,
    tools,
    hooks,
    permissions: createPermissions(
      { rules: catalog.permissions, roots, allowed_hosts: config.sandbox_allowed_hosts },
      secrets.shown,
    ),
    endTurn: sandbox.endTurn,
    now,
    newId,
    hitl_ttl_ms: config.hitl_ttl_s * 1000,
    log: log.named('engine_core.coordinator'),
    limits: { ...config, max_tokens, replay_ttl_ms },
  });

  const { createMediaIntake } = await import('./media/intake.ts');
  const media = createMediaIntake({ ...config.media, pdf });

  const { createApp } = await import('./http/app.ts');
  const app = createApp({
    brain,
    herald,
    coordinator,
    sandbox,
    takeMedia: (blocks, name, field) => {
      const agent = catalog.agents.get(name ?? config.default_agent);
      return media.prepare(blocks, herald.info(agent?.model ?? herald.model), field);
    },
    log,
    secrets: secrets.shown,
    now,
    newId,
    uptime,
  });
  server.serve(app.fetch);
  drain = async () => {
    await coordinator.drain(DRAIN_MS);
    await server.close();
    brain.close();
  };
  log.info('Ready', {
    extra: {
      url: server.url,
      provider: herald.provider,
      model: herald.model,
      start_ms: Math.round(uptime() * 1000),
    },
  });
  // Now, not at the end: a process that is killed keeps nothing for the next start.
  flushCompileCache();
  await sandbox.check();
}

/** SIGTERM and SIGINT: drain, then leave with 0. A second signal leaves at once. */
async function stop(signal: string): Promise<void> {
  if (stopping) process.exit(1);
  stopping = true;
  log.info(`Got ${signal}, draining`);
  await drain();
  log.info('Stopped');
  process.exit(0);
}

/** The last log line says what to do. */
function die(error: unknown): void {
  if (error instanceof StartError) log.error(error.message);
  else log.error(`The Engine broke and has to stop: ${error}`, { extra: errorFields(error) });
  process.exit(error instanceof StartError ? error.exit_code : 1);
}
