import { defineConfig } from 'vitest/config';

/** Tests run against real parts: one PostgreSQL for the whole run (test/postgres.ts), real processes, real HTTP. */
export default defineConfig({
  test: {
    include: ['*/test/**/*.test.ts', 'test/**/*.test.ts'],
    globalSetup: ['test/postgres.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // Real processes and databases on a shared machine: one more try, and the report says "(retry x1)". A test
    // that needs it is to be mended, not lived with.
    retry: 1,
  },
});
