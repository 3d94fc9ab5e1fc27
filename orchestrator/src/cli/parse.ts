/**
 * From what was typed to a command and what it was given. Nothing is guessed: an unknown command or option is
 * refused with the name it was probably meant to be, because a misspelt filter that is ignored shows the wrong rows.
 */
import { parseArgs } from 'node:util';
import { type Command, type Given, nameOf, type OptionSpec } from './command.ts';
import { CommandFailure } from './failure.ts';
import { nearest } from './nearest.ts';

/** What every command takes. */
export const COMMON_OPTIONS: Record<string, OptionSpec> = {
  json: { meaning: 'One JSON document on standard output, also for an error.' },
  help: { meaning: 'What the command does, with an example.' },
};

export type Parsed =
  | { kind: 'help'; about: Command[] }
  | { kind: 'run'; command: Command; given: Given; json: boolean };

/** Throws `CommandFailure` `USAGE`. `argv` begins behind the program's name. */
export function parse(argv: readonly string[], commands: readonly Command[]): Parsed {
  const firstOption = argv.findIndex((word) => word.startsWith('-'));
  const words = firstOption < 0 ? argv : argv.slice(0, firstOption);
  if (words.length === 0 && (argv.length === 0 || argv.some(isHelp))) return { kind: 'help', about: [] };
  if (words[0] === 'help') return { kind: 'help', about: commandsOf(words.slice(1), commands) };
  const command = longestMatch(words, commands);
  if (command === null) {
    if (argv.some(isHelp) && words.length > 0) return { kind: 'help', about: commandsOf(words, commands) };
    throw unknownCommand(words, commands);
  }
  const used = command.also !== undefined && !startsWith(words, command.words) ? 1 : command.words.length;
  const given = readOptions(command, argv.slice(used), commands);
  if (given.on('help')) {
    return {
      kind: 'help',
      about: used < command.words.length ? commandsOf(words.slice(0, 1), commands) : [command],
    };
  }
  return { kind: 'run', command, given, json: given.on('json') };
}

const isHelp = (word: string) => word === '--help' || word === '-h';
const startsWith = (words: readonly string[], begin: readonly string[]) =>
  begin.every((word, index) => words[index] === word);

function longestMatch(words: readonly string[], commands: readonly Command[]): Command | null {
  const matches = commands.filter((command) => startsWith(words, command.words));
  matches.sort((a, b) => b.words.length - a.words.length);
  return matches[0] ?? commands.find(({ also }) => also !== undefined && also === words[0]) ?? null;
}

/** Those whose names begin with `words`; all of them without. */
function commandsOf(words: readonly string[], commands: readonly Command[]): Command[] {
  const found = commands.filter((command) => startsWith(command.words, words));
  if (found.length > 0) return words.length === 0 ? [] : found;
  throw unknownCommand(words, commands);
}

function unknownCommand(words: readonly string[], commands: readonly Command[]): CommandFailure {
  const typed = words.slice(0, 2).join(' ');
  const names = commands.flatMap((command) => [nameOf(command), ...(command.also ? [command.also] : [])]);
  const meant = nearest(typed, names) ?? nearest(words[0] ?? '', names);
  return new CommandFailure(
    'USAGE',
    words.length === 0 ? 'No command was given.' : `There is no command \`${typed}\`.`,
    {
      advice:
        meant === null ? '`bap-engine --help` lists the commands.' : `Did you mean \`bap-engine ${meant}\`?`,
    },
  );
}

function readOptions(command: Command, rest: readonly string[], commands: readonly Command[]): Given {
  const specs: Record<string, OptionSpec> = { ...command.options, ...COMMON_OPTIONS };
  const refuse = (message: string, advice?: string) => {
    const help = `\`bap-engine ${nameOf(command)} --help\` shows what it takes.`;
    return new CommandFailure('USAGE', message, { advice: advice ?? help });
  };
  const { tokens } = parseArgs({
    args: rest.map((word) => (word === '-h' ? '--help' : word)),
    options: Object.fromEntries(
      Object.entries(specs).map(([name, { value }]) => [
        name,
        { type: value === undefined ? 'boolean' : 'string' } as const,
      ]),
    ),
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const values = new Map<string, string | true>();
  const args: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') args.push(token.value);
    if (token.kind !== 'option') continue;
    const spec = Object.hasOwn(specs, token.name) ? specs[token.name] : undefined;
    if (spec === undefined) {
      const meant = nearest(token.name, Object.keys(specs));
      throw refuse(
        `\`bap-engine ${nameOf(command)}\` has no option \`${token.rawName}\`.`,
        meant === null ? undefined : `Did you mean \`--${meant}\`?`,
      );
    }
    if (values.has(token.name)) throw refuse(`\`${token.rawName}\` is given twice.`);
    if (spec.value === undefined && token.value !== undefined) {
      throw refuse(`\`${token.rawName}\` takes no value.`);
    }
    const swallowed = token.inlineValue === false && token.value?.startsWith('-');
    if (spec.value !== undefined && (!token.value || swallowed)) {
      throw refuse(`\`${token.rawName}\` needs a value: \`${token.rawName}=${spec.value}\`.`);
    }
    values.set(token.name, token.value ?? true);
  }
  const given: Given = {
    arg(name) {
      const value = args[command.args.indexOf(name)];
      if (value === undefined) throw new TypeError(`the command has no argument ${name}`);
      return value;
    },
    text(option) {
      const value = values.get(option);
      return typeof value === 'string' ? value : undefined;
    },
    on: (option) => values.has(option),
  };
  if (given.on('help')) return given;
  const [missing, surplus] = [command.args[args.length], args[command.args.length]];
  if (missing !== undefined) throw refuse(`\`bap-engine ${nameOf(command)}\` needs <${missing}>.`);
  if (surplus !== undefined) {
    if (command.args.length === 0) {
      const words = [...command.words.slice(0, 1), surplus];
      const meant = nearest(words.join(' '), commands.map(nameOf));
      if (meant !== null && meant !== nameOf(command)) throw unknownCommand(words, commands);
    }
    throw refuse(`\`bap-engine ${nameOf(command)}\` does not take \`${surplus}\`.`);
  }
  return given;
}
