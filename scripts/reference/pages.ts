/**
 * The reference pages of bap-engine, each from the very thing the program runs on: the document of the API, the
 * catalogue of errors, the schema of policies, the list of audit actions, the table of variables, the commands.
 * `npm run docs` writes them; a test compares.
 */
import { AUDIT_ACTIONS } from '../../orchestrator/src/audit/append.ts';
import { AUDIT_MEANINGS } from '../../orchestrator/src/audit/meanings.ts';
import { nameOf } from '../../orchestrator/src/cli/command.ts';
import { COMMANDS } from '../../orchestrator/src/cli/commands.ts';
import { EXIT_CODES } from '../../orchestrator/src/cli/failure.ts';
import { COMMAND_LINE_VARIABLES } from '../../orchestrator/src/cli/surroundings.ts';
import { VARIABLES } from '../../orchestrator/src/config.ts';
import { ERRORS } from '../../orchestrator/src/errors.ts';
import { createApp } from '../../orchestrator/src/http/app.ts';
import type { HttpDeps } from '../../orchestrator/src/http/context.ts';
import { documentOf } from '../../orchestrator/src/http/docs.ts';
import { type Document, endpointsPage } from './endpoints.ts';
import { code, opening, table } from './markdown.ts';
import { fieldsOf } from './schema.ts';

/** File names below `docs/reference/`, and what stands in them. */
export function referencePages(): Record<string, string> {
  const document = apiDocument();
  return {
    'endpoints.md': endpointsPage(document),
    'errors.md': errorsPage(),
    'policy.md': policyPage(document),
    'audit.md': auditPage(),
    'configuration.md': configurationPage(),
    'command_line.md': commandLinePage(),
  };
}

/** Routes are declared when the app is made and only use what they were given when they are called. */
const apiDocument = (): Document => documentOf(createApp({ admin_key: '' } as HttpDeps));

function errorsPage(): string {
  const rows = Object.entries(ERRORS).map(([name, entry]) => [
    code(name),
    String(entry.status),
    entry.cause,
    entry.advice,
    'retry_after_s' in entry ? `${entry.retry_after_s} s` : '',
  ]);
  return [
    opening(
      'Errors',
      '`orchestrator/src/errors.ts`',
      'Every answer that is not 2xx has the body `{"error":{"code","message","details"?}}`. Go by `code`, never by `message`.',
    ),
    table(['Code', 'Status', 'Cause', 'What to do', '`Retry-After` at least'], rows),
  ].join('\n');
}

function policyPage({ components: { schemas } }: Document): string {
  const rows = fieldsOf(schemas.Policy ?? {}, schemas).map(([name = '', ...rest]) => [
    name.replace(' (optional)', ''),
    ...rest,
  ]);
  return [
    opening(
      'Policy',
      '`orchestrator/src/registry/policy.ts`',
      "A product's limits; set by register and by `PUT /products/{product_id}/policy`, which replaces it whole. Every key is optional, `{}` limits nothing, an unknown key is refused. Effective with the next request.",
    ),
    table(['Key', 'Type', 'Effect'], rows),
  ].join('\n');
}

function auditPage(): string {
  return [
    opening(
      'Audit actions',
      '`orchestrator/src/audit`',
      'Each row is written in the transaction of the change it records, and chained by hash to the one before it of the same product; `bap-engine audit verify` checks that. Read them by `GET /audit` or `bap-engine audit`.',
    ),
    table(
      ['Action', 'Written when'],
      AUDIT_ACTIONS.map((action) => [code(action), AUDIT_MEANINGS[action]]),
    ),
  ].join('\n');
}

function configurationPage(): string {
  const rows = VARIABLES.map(({ name, default: byDefault, meaning }) => [
    code(name),
    shown(byDefault),
    meaning,
  ]);
  return [
    opening(
      'Configuration',
      '`orchestrator/src/config.ts`',
      'Environment variables of the orchestrator. An empty one counts as unset; with `NODE_ENV=production` the required ones must be given, and a start that cannot succeed lists all that is wrong at once. Relative paths begin at the working folder.',
    ),
    table(['Variable', 'Default', 'Meaning'], rows),
    '## The command line\n\n`bap-engine` reads these beside them:\n',
    table(
      ['Variable', 'Default', 'Meaning'],
      COMMAND_LINE_VARIABLES.map((one) => [code(one.name), shown(one.default), one.meaning]),
    ),
  ].join('\n');
}

function shown(byDefault: string | null | Record<string, string>): string {
  if (byDefault === null) return 'required';
  if (typeof byDefault !== 'string') {
    return Object.entries(byDefault)
      .map(([mode, value]) => `${mode}: ${shown(value)}`)
      .join('; ');
  }
  // A path of the machine that made the page says nothing to anybody.
  if (byDefault.startsWith('/')) return "the repository's `catalog/`";
  return byDefault === '' ? 'empty' : code(byDefault);
}

function commandLinePage(): string {
  const sections = COMMANDS.map((command) => {
    const usage = [nameOf(command), ...command.args.map((arg) => `<${arg}>`)].join(' ');
    const options = Object.entries(command.options).map(([name, { value, meaning }]) => [
      code(value === undefined ? `--${name}` : `--${name}=${value}`),
      meaning,
    ]);
    return [
      `## ${nameOf(command)}`,
      `${command.summary} ${command.detail ?? ''}`.trimEnd(),
      `\`\`\`sh\nbap-engine ${usage}\n\n# for example\n${command.example}\n\`\`\``,
      ...(options.length > 0 ? [table(['Option', 'Meaning'], options).trimEnd()] : []),
    ].join('\n\n');
  });
  const exits = Object.values(EXIT_CODES).map(({ exit, meaning }) => [String(exit), meaning]);
  return [
    opening(
      'Command line',
      '`orchestrator/src/cli`',
      'For operators. In a clone: `npx bap-engine …` or `npm run -s bap-engine -- …`. Every command takes `--json` (one JSON document, errors too) and `--help`; where it finds the orchestrator says [configuration.md](configuration.md).',
    ),
    table(['Exit code', 'Meaning'], exits),
    `${sections.join('\n\n')}\n`,
  ].join('\n');
}
