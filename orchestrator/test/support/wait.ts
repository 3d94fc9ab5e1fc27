import { setTimeout as delay } from 'node:timers/promises';

/** Looks until `check` gives something other than false, null or undefined. Throws after 20 s. */
export async function until<T>(
  what: string,
  check: () => Promise<T | false | null | undefined> | T | false | null | undefined,
): Promise<T> {
  const limit = Date.now() + 20_000;
  for (;;) {
    const seen = await check();
    if (seen !== false && seen !== null && seen !== undefined) return seen;
    if (Date.now() > limit) throw new Error(`waited in vain until ${what}`);
    await delay(20);
  }
}

/** Whether a process is there (a corpse that nobody has collected is not). */
export async function processIsThere(pid: number): Promise<boolean> {
  const { startOf } = await import('../../src/backends/process.ts');
  return (await startOf(pid)) !== null;
}
