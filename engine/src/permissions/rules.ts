/**
 * What is allowed, what a person is asked, what is refused.
 *
 * Each thing that a call would do is judged by itself, and the strictest judgement is that of the call: deny beats ask
 * beats allow. So nothing that stands beside a command can make it look better, and what was not understood is asked
 * about like the worst. Source: engine-runtime, "Permissions".
 */
import { posix } from 'node:path';
import type { PermissionRule, PermissionRules } from '../catalog/permissions.ts';
import { canonicalHost, type HostList, isAllowedHost } from '../net/hosts.ts';
import type { Roots } from '../sandbox/roots.ts';
import type { Finding } from '../types.ts';
import { DANGERS, type Danger, type Deed, type Step } from './deeds.ts';
import { bytesAt, holdsRoot, isFolder, type Place, placeOf } from './places.ts';
import { isMarked, shown, type Word } from './words.ts';

export type Judge = {
  rules: PermissionRules;
  roots: Roots;
  /** `SANDBOX_ALLOWED_HOSTS`; empty: no list, and no network in the sandbox. */
  allowed_hosts: HostList;
};

/** Replaced without a question, whatever is in them: they are written to be. */
const REWRITTEN = /\.(log|out|tmp)$/u;

/** In the sandbox this is the command's own. */
const SCRATCH = /^\/(tmp|var\/tmp)\/./u;

const LOOPBACK = /^(localhost|.*\.localhost|127\..*|::1|0\.0\.0\.0)$/u;

/** What nobody can open. */
const brainFinding = (path: string): Finding => ({
  danger: 'write_outside',
  decision: 'deny',
  subject: path,
  reason: `${path} is the brain of this Engine, which nobody can open`,
});

export function judgeCommand(judge: Judge, command: string, steps: Step[]): Finding[] {
  const findings = steps.flatMap((step) => [
    ...byRules(
      judge,
      ({ command: words }) => words !== undefined && beginsWith(step.words, words),
      textOf(step.words),
    ),
    ...step.deeds.flatMap((deed) => judgeDeed(judge, step, deed, command)),
  ]);
  return unique(findings);
}

/** A tool that writes does so on this machine, where /tmp is everybody's. */
export function judgeWrite(judge: Judge, path: string): Finding[] {
  const place = placeOf(judge.roots, judge.roots.paths[0], path);
  const deed = { kind: 'write', path, how: 'create' } as const;
  return place === undefined ? found(judge, 'unclear', path) : unique(judgePlace(judge, place, deed, false));
}

export function judgeHost(judge: Judge, given: string): Finding[] {
  const host = canonicalHost(given) ?? given;
  const findings = byRules(judge, (rule) => rule.host !== undefined && isHost(host, rule.host), host);
  const { names, suffixes, addresses } = judge.allowed_hosts;
  const has_list = names.size + suffixes.length + addresses.rules.length > 0;
  if (!has_list || isMarked(host) || isAllowedHost(host, judge.allowed_hosts)) return findings;
  const reason = `it goes to ${host}, which is not among the allowed hosts`;
  return [...findings, ...found(judge, 'network', host, reason, { host })];
}

/** What is asked about a tool whatever it is given. */
export function judgeTool(judge: Judge, tool: string): Finding[] {
  return byRules(judge, (rule) => rule.tool === '*' || rule.tool === tool, tool);
}

/** One finding of a danger, unless it is allowed. */
export function found(
  { rules }: Judge,
  danger: Danger,
  subject: string,
  reason: string = DANGERS[danger],
  opens?: Finding['opens'],
): Finding[] {
  const decision = rules.dangers[danger] ?? 'ask';
  return decision === 'allow' ? [] : [{ danger, decision, subject, reason, ...(opens && { opens }) }];
}

function judgeDeed(judge: Judge, step: Step, deed: Deed, command: string): Finding[] {
  // What was not understood is remembered as a whole: a part of it could be anything the next time.
  const whole = { exact: command, about: textOf(step.words) };
  switch (deed.kind) {
    case 'danger': {
      const is_dark = deed.danger === 'unclear' || deed.danger === 'inline_code' || step.words.some(isMarked);
      const why = deed.why === undefined ? DANGERS[deed.danger] : `${DANGERS[deed.danger]} (${deed.why})`;
      return found(judge, deed.danger, is_dark ? whole.exact : whole.about, `${whole.about}: ${why}`);
    }
    case 'connect':
      // Of a command this is its own machine, with nobody else on it.
      return LOOPBACK.test(canonicalHost(deed.host) ?? '') ? [] : judgeHost(judge, deed.host);
    case 'link':
      return step.folders.flatMap((folder) => {
        const target = isFolder(posix.resolve('/', folder, deed.path)) ? deed.path : posix.dirname(deed.path);
        const from = target.startsWith('/') ? target : `${folder}/${target}`;
        const to = placeOf(judge.roots, from, deed.to);
        if (to?.where === 'brain') return [brainFinding(to.path)];
        const leads_out = to === undefined || (to.where !== 'inside' && to.where !== 'free');
        return [
          ...(leads_out
            ? found(judge, 'unclear', whole.exact, `${whole.about}: it makes a link that leads outside`)
            : []),
          ...judgeDeed(
            judge,
            { ...step, folders: [folder] },
            { kind: 'write', path: deed.path, how: 'create' },
            command,
          ),
        ];
      });
    case 'write':
    case 'delete':
      return step.folders.flatMap((folder) => {
        const place = placeOf(judge.roots, folder, deed.path, deed.kind === 'delete');
        if (place !== undefined) return judgePlace(judge, place, deed, true);
        if (deed.kind === 'write' && deed.how === 'create') return [];
        return found(
          judge,
          'unclear',
          whole.exact,
          `${whole.about}: what it ${deed.kind === 'write' ? 'replaces' : 'deletes'} is not known`,
        );
      });
  }
}

function judgePlace(
  judge: Judge,
  place: Place,
  deed: Extract<Deed, { kind: 'write' | 'delete' }>,
  has_scratch: boolean,
): Finding[] {
  const { path, where } = place;
  const findings = byRules(
    judge,
    (rule) =>
      rule.path !== undefined &&
      (path === rule.path ||
        path.startsWith(`${rule.path.replace(/\/$/u, '')}/`) ||
        (deed.kind === 'delete' && rule.path.startsWith(`${path}/`))),
    path,
  );
  if (where === 'free') return findings;
  if (where === 'brain') return [brainFinding(path)];
  const is_whole = deed.kind === 'delete' && deed.whole;
  if (where === 'outside') {
    if (has_scratch && !is_whole && SCRATCH.test(`${path}${place.is_pattern ? '/.' : ''}`)) return findings;
    const [danger, does] =
      deed.kind === 'delete'
        ? (['delete_outside', 'deletes'] as const)
        : (['write_outside', 'changes'] as const);
    return [
      ...findings,
      ...found(judge, danger, path, `it ${does} ${path}, which is outside of the folders of this Engine`, {
        path,
      }),
    ];
  }
  if (deed.kind === 'delete') {
    const is_all = place.is_pattern
      ? place.is_all && holdsRoot(judge.roots, path)
      : holdsRoot(judge.roots, path);
    const is_history = !place.is_pattern && posix.basename(path) === '.git';
    if (deed.whole && (is_all || is_history)) {
      findings.push(
        ...found(
          judge,
          'delete_everything',
          path,
          `it deletes ${is_history ? 'the history of' : 'all there is in'} ${path}`,
        ),
      );
    }
    return findings;
  }
  const bytes = deed.how === 'create' || place.is_pattern ? 0 : bytesAt(path);
  const is_significant =
    deed.how === 'empty' ? bytes > 0 : bytes >= judge.rules.significant_bytes && !REWRITTEN.test(path);
  if (bytes > 0 && is_significant) {
    findings.push(...found(judge, 'overwrite', path, `it replaces ${path}, which has ${bytes} bytes`));
  }
  return findings;
}

function byRules({ rules }: Judge, matches: (rule: PermissionRule) => boolean, subject: string): Finding[] {
  return rules.rules
    .filter(matches)
    .map(({ decision, reason }) => ({ danger: 'rule', decision, subject: shown(subject), reason }));
}

function beginsWith(words: Word[], rule: string[]): boolean {
  return rule.every((word, at) => words[at] !== undefined && (word === '*' || word === words[at]));
}

/** `*.example.com` is every host below example.com. */
function isHost(host: string, pattern: string): boolean {
  const wanted = pattern.toLowerCase();
  return wanted.startsWith('*.') ? host.endsWith(wanted.slice(1)) : host === wanted;
}

/** Words as a person would type them. */
export function textOf(words: Word[]): string {
  return words
    .map((word) => shown(word))
    .map((word) => (/^[\w@%+=:,./…~-]+$/u.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`))
    .join(' ')
    .slice(0, 500);
}

function unique(findings: Finding[]): Finding[] {
  const seen = new Set<string>();
  return findings.filter(({ danger, decision, subject }) => {
    const key = JSON.stringify([danger, decision, subject]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}
