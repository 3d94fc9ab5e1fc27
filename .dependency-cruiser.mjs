/**
 * The layers of the house, checked (docs/architecture.md). An arrow that is not allowed here fails `npm test`.
 */
const only = (name, from, allowed) => ({
  name,
  severity: 'error',
  from: { path: from },
  to: {
    path: '^(contract|engine|orchestrator|model-server|openapi-page|scripts|bench|test)/',
    pathNot: allowed,
  },
});

/** Nothing in `from` may import `to`. */
const never = (name, from, to) => ({ name, severity: 'error', from: { path: from }, to: { path: to } });

export default {
  forbidden: [
    { name: 'no-circles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-undeclared-packages',
      severity: 'error',
      from: { pathNot: '^(scripts|bench|test)/|/test/' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-dev', 'npm-unknown'] },
    },

    only('contract-stands-alone', '^contract/', '^contract/'),
    only('engine-knows-only-the-contract', '^engine/src/', '^(engine/src|contract/src|openapi-page/src)/'),
    only(
      'orchestrator-knows-only-the-contract',
      '^orchestrator/src/',
      '^(orchestrator/src|contract/src|openapi-page/src)/',
    ),
    only('bench-measures-what-is-shipped', '^bench/', '^(bench|scripts|contract/src|orchestrator/src)/'),
    only('model-server-stands-alone', '^model-server/src/', '^model-server/src/'),

    // Inside a program dependencies point down: http -> domain -> storage and backends -> contract.
    never(
      'only-main-reaches-up-to-http',
      '^(engine|orchestrator)/src/(?!main\\.ts|app\\.ts|core\\.ts|development/|http/)',
      '^(engine|orchestrator)/src/http/',
    ),
    never('nobody-imports-main', '.', '^(engine|orchestrator)/src/main\\.ts$'),
    never(
      'engine-storage-knows-no-domain',
      '^engine/src/(brain|net|observe|secrets)/',
      '^engine/src/(turn|herald|tools|http)/',
    ),
    never(
      'engine-herald-and-tools-know-no-turn',
      '^engine/src/(herald|tools|sandbox|catalog)/',
      '^engine/src/turn/',
    ),
    never('engine-herald-knows-no-brain', '^engine/src/herald/', '^engine/src/(brain|tools)/'),
    never(
      'registry-has-no-side-effects',
      '^orchestrator/src/(registry|keys|audit)/',
      '^orchestrator/src/(backends|lifecycle|admission|health|fleet)/',
    ),
    never(
      'backends-know-no-registry',
      '^orchestrator/src/backends/',
      '^orchestrator/src/(registry|lifecycle|admission|audit|health|fleet)/',
    ),
    never(
      'only-lifecycle-calls-backends',
      '^orchestrator/src/(admission|fleet)/',
      '^orchestrator/src/backends/(?!contract\\.ts)',
    ),
    never(
      'lifecycle-knows-no-admission',
      '^orchestrator/src/lifecycle/',
      '^orchestrator/src/(admission|fleet)/',
    ),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
