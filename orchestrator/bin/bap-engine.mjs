#!/usr/bin/env node
// With whatever Node.js is there; run.mjs finds the project's own and installs what is missing.
process.argv.splice(2, 0, 'orchestrator/src/cli/main.ts');
await import('../../scripts/run.mjs');
