import { type Command, nameOf, type OptionSpec } from './command.ts';
import { EXIT_CODES } from './failure.ts';
import { COMMON_OPTIONS } from './parse.ts';
import { COMMAND_LINE_VARIABLES } from './surroundings.ts';
import { columns } from './text.ts';

/** All commands, where they find what they talk to, and the exit codes. */
export function overview(commands: readonly Command[]): string {
  return [
    'bap-engine, for operators: the fleet, its audit log, its keys.',
    '',
    'Commands',
    columns(commands.map((command) => [usage(command), command.summary])),
    '',
    'Each takes',
    options(COMMON_OPTIONS),
    '',
    'Environment',
    columns(COMMAND_LINE_VARIABLES.map(({ name, meaning }) => [name, meaning])),
    '  migrate, audit verify, rotate-master-key, repair-epochs and doctor work beside the orchestrator: with its',
    '  variables (docs/reference/configuration.md); in development they find the data of a running `npm start`.',
    '',
    'Exit codes',
    columns(Object.values(EXIT_CODES).map(({ exit, meaning }) => [String(exit), meaning])),
    '',
    'One command in full: bap-engine <command> --help',
  ].join('\n');
}

/** One command in full, or those of one group. */
export function helpOn(commands: readonly Command[]): string {
  return commands
    .map((command) =>
      [
        `bap-engine ${usage(command)}`,
        '',
        `  ${command.summary}`,
        ...(command.detail === undefined ? [] : ['', `  ${command.detail}`]),
        '',
        options({ ...command.options, ...COMMON_OPTIONS }),
        '',
        '  Example',
        `    ${command.example}`,
      ].join('\n'),
    )
    .join('\n\n');
}

function usage(command: Command): string {
  return [nameOf(command), ...command.args.map((arg) => `<${arg}>`)].join(' ');
}

function options(specs: Readonly<Record<string, OptionSpec>>): string {
  return columns(
    Object.entries(specs).map(([name, { value, meaning }]) => [
      value === undefined ? `--${name}` : `--${name}=${value}`,
      meaning,
    ]),
  );
}
