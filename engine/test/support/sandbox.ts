/** What this machine has for a sandbox. Where there is none, tests that need one are skipped, and say so. */
import { readdirSync, readFileSync } from 'node:fs';
import { findHost } from '../../src/sandbox/host.ts';

const found = await findHost(process.env.PATH ?? '', process.execPath);

export const host = 'reason' in found ? undefined : found;

/** Settings of an Engine whose hooks and commands run on every machine. */
export const runnable: Record<string, string> = host === undefined ? { SANDBOX_MODE: 'none' } : {};

/** Numbers of the processes of this machine, in a sandbox or not, in whose command line `marker` stands. */
export function processesWith(marker: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      try {
        return (
          !Number.isNaN(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(marker)
        );
      } catch {
        // Gone meanwhile.
        return false;
      }
    });
}
