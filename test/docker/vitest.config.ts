import { defineConfig } from 'vitest/config';

/** Tests against a real Docker Engine: `npm run test:docker` (scripts/test_docker.ts) builds the images first. */
export default defineConfig({
  test: {
    include: ['*/test/**/*.docker.ts', 'test/**/*.docker.ts'],
    globalSetup: ['test/postgres.ts'],
    // They share one daemon, its networks and its ports.
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // As in vitest.config.ts: what needs it says so in the report, and is to be mended.
    retry: 1,
  },
});
