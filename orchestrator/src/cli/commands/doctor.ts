import { examine } from '../../checks/examine.ts';
import type { Finding } from '../../checks/finding.ts';
import { ConfigError } from '../../config.ts';
import type { Command, Io } from '../command.ts';
import { configured, fleetAccess } from '../surroundings.ts';
import { shown } from '../text.ts';

const MARKS = { ok: 'ok', warning: 'warning', problem: 'PROBLEM' } as const;
/** An orchestrator that takes longer to say that it lives is in trouble, milliseconds. */
const HEALTH_TIMEOUT_MS = 10_000;

export const doctor: Command = {
  words: ['doctor'],
  args: [],
  options: {},
  summary: 'Look at everything an orchestrator needs here, and say what to do.',
  detail: 'Changes nothing. Exit code 1 when there is a problem; warnings do not count.',
  example: 'bap-engine doctor',
  async run(_given, io) {
    const findings = [...(await local(io)), await orchestrator(io)];
    const problems = findings.filter(({ verdict }) => verdict === 'problem').length;
    const warnings = findings.filter(({ verdict }) => verdict === 'warning').length;
    return {
      json: { findings, problems, warnings },
      people: () => [...findings.map(line), '', `${problems} problems, ${warnings} warnings`].join('\n'),
      failed: problems > 0,
    };
  },
};

async function local(io: Io): Promise<Finding[]> {
  try {
    const { config, database, end } = await configured(io);
    try {
      return await examine(config, database, (what) => io.progress(`looking at ${what} …`));
    } finally {
      await end();
    }
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map((found) => ({
      check: 'configuration',
      verdict: 'problem',
      found,
      advice: 'Set it; docs/reference/configuration.md has every variable. The rest was not looked at.',
    }));
  }
}

/** Not running is no problem of what is here: a doctor is also asked before the first start. */
async function orchestrator(io: Io): Promise<Finding> {
  const { url } = await fleetAccess(io).catch(() => ({ url: null }));
  const check = 'orchestrator';
  if (url === null) {
    return {
      check,
      verdict: 'warning',
      found: 'Not asked: there is no admin key.',
      advice: 'Set ORCH_ADMIN_KEY.',
    };
  }
  try {
    const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS) });
    if (response.ok) return { check, verdict: 'ok', found: `It answers at ${url}.` };
    const found = `It answers at ${url} with HTTP ${response.status}.`;
    return { check, verdict: 'problem', found, advice: 'Its log has the reason.' };
  } catch {
    const advice = 'Start it, or set ORCH_URL to where it is.';
    return { check, verdict: 'warning', found: `Nobody answers at ${url}.`, advice };
  }
}

function line({ check, verdict, found, advice }: Finding): string {
  const first = `${MARKS[verdict].padEnd(7)}  ${check.padEnd(13)}  ${shown(found)}`;
  return advice === undefined ? first : `${first}\n${' '.repeat(24)}→ ${shown(advice)}`;
}
