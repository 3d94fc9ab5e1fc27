/**
 * Whether a call of a tool is allowed, has to be asked about, or is refused; and what a person is asked.
 *
 * Nothing is decided by what the model says it does, only by what it would do: the command it gives, the path, the
 * host, and what it has just read. The grammar is loaded with the first command. Source: engine-runtime, "Permissions".
 */
import { createHash } from 'node:crypto';
import { canonical } from '../brain/tool_calls.ts';
import type { Scrubber } from '../secrets/scrubber.ts';
import type { Tool } from '../tools/contract.ts';
import type { Finding } from '../types.ts';
import { type Grammar, loadGrammar } from './grammar.ts';
import { found, type Judge, judgeCommand, judgeHost, judgeTool, judgeWrite } from './rules.ts';
import { readCommand } from './shell.ts';

export type Permissions = {
  /**
   * What there is to say about a call; nothing where it is simply allowed. `after_outside`: the model has just been
   * shown what strangers wrote.
   */
  judge(tool: Tool, input: Record<string, unknown>, after_outside: boolean): Promise<Finding[]>;
};

/** A command, path or input longer than this is not remembered: nobody reads it in a list. */
const MAX_SUBJECT = 2_000;

/** Of a command or an input in a question, characters. */
const MAX_SHOWN = 2_000;

/** `scrubber`: what is asked, kept and shown has no secrets in it. */
export function createPermissions(judge: Judge, scrubber: Pick<Scrubber, 'text'>): Permissions {
  const [folder] = judge.roots.paths;
  let loading: Promise<Grammar> | undefined;

  /** Two subjects that differ in a secret only are still two. */
  function named(subject: string): string {
    const scrubbed = scrubber.text(subject);
    if (scrubbed === subject) return subject;
    return `${scrubbed} #${createHash('sha256').update(subject).digest('hex').slice(0, 16)}`;
  }

  return {
    async judge(tool, input, after_outside) {
      const { name } = tool.definition;
      const exactly = `${name} ${JSON.stringify(canonical(input))}`;
      const findings = judgeTool(judge, name);
      if (tool.requires_permission) findings.push(...found(judge, 'requires_permission', name));
      if (tool.high_cost) findings.push(...found(judge, 'high_cost', exactly));
      if (after_outside && tool.effect(input) !== 'pure')
        findings.push(...found(judge, 'after_outside', exactly));
      for (const action of tool.acts?.(input) ?? []) {
        if (action.kind === 'write') findings.push(...judgeWrite(judge, action.path));
        else if (action.kind === 'network') findings.push(...judgeHost(judge, action.host));
        else {
          loading ??= loadGrammar();
          const steps = readCommand(await loading, action.command, folder);
          findings.push(...judgeCommand(judge, action.command, steps));
        }
      }
      return findings.map((finding) => ({
        ...finding,
        subject: named(finding.subject),
        reason: scrubber.text(finding.reason),
      }));
    },
  };
}

/** What a person may answer: `always` and `always_everywhere` where all that is asked can be remembered. */
export function answersTo(findings: Finding[] | null): string[] {
  const can_last = (findings ?? []).length > 0 && (findings ?? []).every(isMemorable);
  return can_last ? ['yes', 'no', 'always', 'always_everywhere'] : ['yes', 'no'];
}

/** An operator who wants to be asked is asked each time. */
const isMemorable = ({ danger, subject }: Finding) =>
  danger !== 'requires_permission' && danger !== 'rule' && subject.length <= MAX_SUBJECT;

/** The question, with exactly what would be done, why it is asked, and what a yes opens. */
export function questionOf(tool: string, input: Record<string, unknown>, findings: Finding[]): string {
  const what = typeof input.command === 'string' ? input.command : JSON.stringify(input);
  const shown = what.length > MAX_SHOWN ? `${what.slice(0, MAX_SHOWN)}… (${what.length} characters)` : what;
  const opened = findings.flatMap(({ opens }) => (opens === undefined ? [] : Object.values(opens)));
  return [
    `May ${tool} do this? ${shown}`,
    ...findings.map(({ reason }) => `- ${reason}`),
    ...(opened.length === 0 ? [] : [`A yes opens, for this one call: ${[...new Set(opened)].join(', ')}.`]),
  ].join('\n');
}

/** What the model is told when there is nobody to ask. */
export function refusalOf(findings: Finding[]): string {
  const reasons = findings.filter(({ decision }) => decision === 'deny').map(({ reason }) => reason);
  return `This is not allowed: ${reasons.join('; ')}. Nobody is asked about it. Do it in another way, or tell the user what you would need.`;
}
