import { defineConfig } from 'vitest/config';

/** `npm run crash-matrix`: every cell, one after the other so that the times mean something. */
export default defineConfig({
  test: {
    root: new URL('../../..', import.meta.url).pathname,
    include: ['orchestrator/test/crash/whole_matrix.ts'],
    globalSetup: ['test/postgres.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    fileParallelism: false,
  },
});
