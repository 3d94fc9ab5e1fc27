import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { documentMachine, withGenerated } from '../../src/lifecycle/document.ts';
import { DEPTHS, OPERATIONS, STATES } from '../../src/lifecycle/machine.ts';

const page = await readFile(new URL('../../../docs/lifecycle.md', import.meta.url), 'utf8');

describe('docs/lifecycle.md', () => {
  it('holds what the machine says; otherwise: node scripts/generate_docs.ts', () => {
    expect(page).toBe(withGenerated(page));
  });

  it('names every state, operation and depth, and draws every way', () => {
    const text = documentMachine();
    for (const name of [STATES, OPERATIONS, DEPTHS].flatMap(Object.keys))
      expect(text).toContain(`\`${name}\``);
    for (const arrow of [
      '[*] --> provisioning: provision',
      'provisioning --> running: provision done, restore done',
      'running --> sleeping: sleep',
      'sleeping --> running: start, sleep fails, wake, upgrade',
      'failed --> running: start, restart, rollback',
      'running --> failed: upgrade fails, ill, or gone',
      'destroying --> [*]: destroy done, purge done',
      'destroying --> destroyed: retire done, purge fails',
      'destroyed --> provisioning: restore',
    ]) {
      expect(text).toContain(`  ${arrow}\n`);
    }
  });

  it('refuses a page without a place for it', () => {
    expect(() => withGenerated('# Nothing')).toThrow('no generated part');
  });
});
