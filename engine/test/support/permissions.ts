/** A folder as commands.txt describes it, and what is decided about a command that is run there. */
import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEFAULT_RULES } from '../../src/catalog/permissions.ts';
import { parseHosts } from '../../src/net/hosts.ts';
import { loadGrammar } from '../../src/permissions/grammar.ts';
import { type Judge, judgeCommand } from '../../src/permissions/rules.ts';
import { readCommand } from '../../src/permissions/shell.ts';
import { openRoots } from '../../src/sandbox/roots.ts';
import { temporaryFolder } from './engine.ts';

/** A list as an operator writes it. */
export function hostList(text: string) {
  const list = parseHosts(text);
  if ('bad' in list) throw new Error(`${list.bad} is no host`);
  return list;
}

const NO_HOSTS = hostList('');

export async function permissionRoots(given: Partial<Judge> = {}) {
  const place = realpathSync(temporaryFolder());
  const root = join(place, 'root');
  for (const folder of ['src', 'build', '.git']) mkdirSync(join(root, folder), { recursive: true });
  writeFileSync(join(place, 'brain.sqlite'), '');
  for (const name of ['big.txt', 'run.log']) writeFileSync(join(root, name), 'x'.repeat(3_000));
  writeFileSync(join(root, 'small.txt'), 'abc');
  symlinkSync('/etc', join(root, 'outside'));
  symlinkSync('build', join(root, 'inside'));
  const roots = openRoots({ paths: [root], own: false }, join(place, 'brain.sqlite'));
  const judge: Judge = { rules: DEFAULT_RULES, roots, allowed_hosts: NO_HOSTS, ...given };
  const grammar = await loadGrammar();
  return {
    root,
    grammar,
    judge,
    decide(command: string) {
      const steps = readCommand(grammar, command, root);
      const findings = judgeCommand(judge, command, steps);
      const decisions = findings.map(({ decision }) => decision);
      const decision = decisions.includes('deny') ? 'deny' : decisions.length > 0 ? 'ask' : 'allow';
      return { decision, findings, steps };
    },
  };
}
