/**
 * A shell command as a flat list of the simple commands it may run, each with what it does.
 *
 * Everything that can hold a command is walked: lists, pipelines, subshells, functions, loops, substitutions, here-
 * documents into a shell, and the text that `eval`, `sh -c` or `trap` are given. Nothing is decided here about which way
 * the command goes: both branches count, a loop's variables have all values they could have, `cd` may have failed. So
 * the list may say more than will happen, and never less. What does not fit counts as not understood, and stands in
 * the list as such. Source: engine-runtime, "Permissions".
 */
import { posix } from 'node:path';
import { type Deed, type Stdin, type Step, unclear } from './deeds.ts';
import { type Grammar, type Node, NotUnderstood } from './grammar.ts';
import { deedsOf } from './programs.ts';
import {
  assignedIn,
  checkComment,
  checkGaps,
  checkText,
  checkToken,
  childrenOf,
  EXPANSIONS,
  flatten,
  joined,
  LOOPS,
  parts,
  STATEMENTS,
} from './tree.ts';
import {
  BELOW,
  type Expansion,
  expand,
  expandOne,
  expandText,
  isMarked,
  isUnknown,
  SOME,
  TEXT,
  WORDS,
  type Word,
} from './words.ts';
import { innerOf } from './wrappers.ts';

/** Simple commands in all; each variable and each value of it counts. */
const MAX_STEPS = 1_000;
/** Commands inside of commands: `sh -c` in `sh -c`, functions in functions. */
const MAX_NESTING = 20;
/** Readings of one command, when its variables have several values each. */
const MAX_READINGS = 64;
/** Folders a relative path may start from. */
const MAX_FOLDERS = 8;

/** What is known at a place of the command. `stack`: the functions that are being called. */
type Flow = { variables: Map<string, Word[]>; folders: Word[]; stdin: Stdin; stack: string[]; depth: number };

const INHERITED: Stdin = { kind: 'inherited' };
const UNKNOWN: Stdin = { kind: 'unknown' };

/**
 * What a command would do, run in `folder`. Never throws: what cannot be understood is a step of its own, with the
 * danger `unclear`.
 */
export function readCommand(grammar: Grammar, command: string, folder: string): Step[] {
  const script = createScript(grammar);
  script.code(command, {
    variables: new Map(),
    folders: [folder],
    stdin: INHERITED,
    stack: [],
    depth: 0,
  });
  return script.steps;
}

/** Words that are no command's name: where one stands in its place, the grammar has misread. */
const RESERVED = new Set(
  '{ } ( ) ! [[ ]] if then elif else fi case esac for select while until do done in function'.split(' '),
);

/** Variables that change what other commands do, or run something themselves. */
const TELLING =
  /^(LD_.*|DYLD_.*|BASH_ENV|ENV|IFS|PROMPT_COMMAND|PS[0-4]|SHELLOPTS|BASHOPTS|BASH_.*|CDPATH|GLOBIGNORE|GIT_(SSH|SSH_COMMAND|EXTERNAL_DIFF|PAGER|EDITOR|EXEC_PATH|CONFIG.*|ASKPASS|PROXY_COMMAND|SEQUENCE_EDITOR)|PAGER|MANPAGER|EDITOR|VISUAL|LESSOPEN|LESSCLOSE|PERL5OPT|PERL5LIB|PYTHONSTARTUP|RUBYOPT|NODE_OPTIONS|JAVA_TOOL_OPTIONS|TAR_OPTIONS|GREP_OPTIONS|RSYNC_RSH|MAKEFLAGS|MFLAGS)$/u;

function createScript(grammar: Grammar) {
  const steps: Step[] = [];
  /** Bodies of functions, as text. */
  const functions = new Map<string, string>();
  /** Assigned somewhere that is run who knows when: their value is never known. */
  const fickle = new Set<string>();
  /** Files that the command writes itself. */
  const written = new Set<string>();
  /** Quoted text that would be run where bash calculates; harmless anywhere else. */
  let sleeping_code = false;
  let calculates = false;
  let told_sleeping = false;

  function add(words: Word[], flow: Flow, deeds: Deed[]): void {
    if (steps.length >= MAX_STEPS) throw new NotUnderstood(`more than ${MAX_STEPS} commands`);
    steps.push({ words, folders: [...flow.folders], deeds });
    for (const deed of deeds) {
      if (deed.kind !== 'write' && deed.kind !== 'link') continue;
      for (const path of placesOf(deed.path, flow)) written.add(path);
    }
  }

  const placesOf = (path: Word, { folders }: Flow) =>
    folders.map((folder) => posix.normalize(posix.resolve('/', folder, path)));

  /** Code as text. */
  function code(text: Word, flow: Flow): void {
    try {
      if (isMarked(text)) throw new NotUnderstood('code that is made while it runs');
      if (flow.depth > MAX_NESTING) throw new NotUnderstood('commands nested too deep');
      checkText(text);
      const inner = { ...flow, depth: flow.depth + 1 };
      grammar.read(text, (root) => visit(root, text, inner));
      if (sleeping_code && calculates && !told_sleeping) {
        told_sleeping = true;
        throw new NotUnderstood('quoted code beside a calculation, which would run it');
      }
    } catch (error) {
      if (!(error instanceof NotUnderstood)) throw error;
      steps.push({ words: [text], folders: [...flow.folders], deeds: [unclear(error.message)] });
    }
  }

  function visit(node: Node, source: string, flow: Flow): void {
    switch (node.type) {
      case 'comment':
        checkComment(node, source);
        return;
      case 'program':
      case 'do_group':
      case 'compound_statement':
        sequence(node, source, flow);
        return;
      case 'list':
        list(node, source, flow);
        return;
      case 'subshell':
        sequence(node, source, apart(flow));
        return;
      case 'negated_command':
        for (const child of parts(node)) visit(child, source, flow);
        return;
      case 'pipeline':
        pipeline(parts(node), source, flow);
        return;
      case 'command':
        command(node, [], source, flow);
        return;
      case 'redirected_statement':
        redirected(node, source, flow);
        return;
      case 'variable_assignment':
      case 'variable_assignments':
        assignments(node, source, flow);
        return;
      case 'declaration_command':
        declaration(node, source, flow);
        return;
      case 'unset_command':
        for (const child of parts(node)) forget(flow, child.text);
        return;
      case 'test_command':
        calculates = true;
        substitutions(node, source, flow);
        return;
      case 'if_statement':
      case 'elif_clause':
      case 'else_clause':
      case 'case_statement':
      case 'case_item':
      case 'while_statement':
      case 'for_statement':
      case 'c_style_for_statement':
        branching(node, source, flow);
        return;
      case 'function_definition':
        definition(node, source, flow);
        return;
      default:
        throw new NotUnderstood('a form that is not known here');
    }
  }

  /** One after the other; `&` runs the one before it apart. */
  function sequence(node: Node, source: string, flow: Flow): void {
    checkGaps(node, source);
    const children = node.children.filter((child) => child !== null);
    children.forEach((child, index) => {
      if (!child.isNamed) {
        checkToken(child);
        return;
      }
      if (child.type === 'heredoc_body' || child.type === 'heredoc_end') return;
      visit(child, source, children[index + 1]?.type === '&' ? apart(flow) : flow);
    });
  }

  /** What stands behind `&&` or `||` may not run: what it sets may or may not be set. */
  function list(node: Node, source: string, flow: Flow): void {
    checkGaps(node, source);
    const [left, right, ...more] = parts(node);
    if (left === undefined || right === undefined || more.length > 0) {
      throw new NotUnderstood('a list that cannot be read');
    }
    visit(left, source, flow);
    const before = new Map(flow.variables);
    visit(right, source, flow);
    for (const [name, values] of flow.variables) {
      const old = before.get(name) ?? [WORDS];
      if (old !== values) flow.variables.set(name, [...new Set([...old, ...values])].slice(0, MAX_READINGS));
      if ((flow.variables.get(name)?.length ?? 0) >= MAX_READINGS) flow.variables.set(name, [WORDS]);
    }
  }

  function pipeline(stages: Node[], source: string, flow: Flow, first_stdin = flow.stdin): void {
    stages.forEach((stage, index) => {
      visit(stage, source, { ...apart(flow), stdin: index === 0 ? first_stdin : UNKNOWN });
    });
  }

  /** Whatever is set in one of the branches, or in a loop, has no known value afterwards, nor while it goes round. */
  function branching(node: Node, source: string, flow: Flow): void {
    const assigned = assignedIn(node);
    if (LOOPS.has(node.type)) for (const name of assigned) forget(flow, name);
    if (node.type === 'for_statement') {
      const name = node.childForFieldName('variable')?.text ?? '';
      const values = childrenOf(node, 'value').flatMap((value) => readings(value, source, flow).flat());
      const is_known = values.length > 0 && values.length <= MAX_READINGS && !assigned.has(name);
      flow.variables.set(name, is_known ? [...new Set(values)] : [WORDS]);
      assigned.add(name);
    }
    if (node.type === 'c_style_for_statement') calculates = true;
    const before = flow.folders.join('\n');
    branches(node, source, flow);
    // Each round of a loop may start where the last one has ended.
    if (LOOPS.has(node.type) && flow.folders.join('\n') !== before) {
      flow.folders.splice(0, flow.folders.length, TEXT);
      branches(node, source, flow);
    }
    for (const name of assigned) forget(flow, name);
  }

  function branches(node: Node, source: string, flow: Flow): void {
    const fields = new Map<number, string>();
    for (const field of ['variable', 'value', 'initializer', 'condition', 'update']) {
      for (const child of childrenOf(node, field)) fields.set(child.id, field);
    }
    const children = node.children.filter((child) => child !== null);
    children.forEach((child, index) => {
      const field = fields.get(child.id);
      if (field !== undefined && !(field === 'condition' && STATEMENTS.has(child.type))) {
        substitutions(child, source, flow);
      } else if (!child.isNamed) checkToken(child);
      else visit(child, source, children[index + 1]?.type === '&' ? apart(flow) : flow);
    });
  }

  /** The body is looked at where it stands and wherever it is called: who calls it cannot always be seen. */
  function definition(node: Node, source: string, flow: Flow): void {
    const name = node.childForFieldName('name')?.text;
    const body = node.childForFieldName('body');
    if (name === undefined || body === null) throw new NotUnderstood('a function that cannot be read');
    for (const assigned of assignedIn(body)) fickle.add(assigned);
    const text = source.slice(body.startIndex, node.endIndex);
    functions.set(name, text);
    const inside = { ...apart(flow), variables: new Map(), stdin: UNKNOWN, stack: [...flow.stack, name] };
    code(text, inside);
  }

  /** A statement with redirections: they hold for all that it runs. */
  function redirected(node: Node, source: string, flow: Flow): void {
    const body = node.childForFieldName('body');
    const redirections = parts(node).filter((child) => child.id !== body?.id);
    if (body?.type === 'command') {
      command(body, redirections, source, flow);
      return;
    }
    if (body === null) {
      command(undefined, redirections, source, flow);
      return;
    }
    const { stdin, extra, after, write } = redirect(redirections, source, flow);
    if (extra.length > 0) throw new NotUnderstood('words behind a redirection');
    write(['…']);
    visit(body, source, { ...flow, stdin });
    after();
  }

  function command(node: Node | undefined, redirections: Node[], source: string, flow: Flow): void {
    const children = node === undefined ? [] : flatten(node, source);
    const own = children.filter((child) => child.type.endsWith('_redirect'));
    const assigned = children.filter((child) => child.type === 'variable_assignment');
    const rest = children.filter((child) => !own.includes(child) && !assigned.includes(child));
    if (rest[0]?.type === 'command_name' && rest[0].text.startsWith('((')) {
      calculates = true;
      substitutions(rest[0], source, flow);
      return;
    }
    const { stdin, extra, after, write } = redirect([...own, ...redirections], source, flow);

    const words: Word[][][] = [...joined(rest), ...extra.map((child) => [child])].map((touching) => {
      const [first] = touching;
      const last = touching.at(-1);
      if (first === undefined || last === undefined) return [[]];
      return wordAt(touching, first.startIndex, last.endIndex, source, flow);
    });
    for (const child of assigned) assign(child, source, words.length === 0 ? flow : copy(flow));
    const before = words.length === 0 ? [] : assigned;
    for (const child of before) checkPrefix(child, source, words, flow);

    for (const reading of combine(words)) {
      write(reading);
      run(reading, { ...flow, stdin });
    }
    if (words.length === 0) write([]);
    after();
  }

  /** `IFS= read` reads a line as it is; anything else that tells other programs what to do is not followed. */
  function checkPrefix(node: Node, source: string, words: Word[][][], flow: Flow): void {
    const name = node.childForFieldName('name')?.text ?? '';
    const [reading] = words[0] ?? [];
    if (name === 'IFS' && (reading?.[0] === 'read' || reading?.[0] === 'mapfile')) return;
    if (TELLING.test(name)) add([source.slice(node.startIndex, node.endIndex)], flow, [told(name)]);
  }

  /** The redirections of a command, what it reads, and what the grammar counts among them that is not. */
  function redirect(nodes: Node[], source: string, flow: Flow) {
    let stdin = flow.stdin;
    const extra: Node[] = [];
    const later: (() => void)[] = [];
    const writes: { path: Word; appends: boolean }[] = [];
    for (const node of nodes) {
      if (node.type === 'herestring_redirect') {
        const [value] = parts(node);
        const [text, ...more] = value === undefined ? [] : textAt(value, source, flow);
        stdin = text !== undefined && more.length === 0 ? { kind: 'text', text } : UNKNOWN;
      } else if (node.type === 'heredoc_redirect') {
        stdin = hereDocument(node, source, flow);
        for (const child of parts(node)) {
          if (child.type.startsWith('heredoc_')) continue;
          if (child.type === 'file_redirect') nodes.push(child);
          else if (child.type === 'pipeline') {
            later.push(() => pipeline(parts(child), source, flow, UNKNOWN));
          } else if (STATEMENTS.has(child.type)) {
            later.push(() => visit(child, source, { ...flow, stdin: UNKNOWN }));
          } else extra.push(child);
        }
      } else if (node.type === 'file_redirect') {
        const operator = node.children.find((child) => child !== null && !child.isNamed)?.type ?? '';
        const [target, ...words] = childrenOf(node, 'destination');
        extra.push(...words);
        if (target === undefined) {
          if (!operator.endsWith('-')) throw new NotUnderstood('a redirection that cannot be read');
          continue;
        }
        const paths = textAt(target, source, flow);
        if (operator.startsWith('<')) stdin = UNKNOWN;
        else if (!/^[<>]&$/u.test(operator) || !paths.every((path) => /^\d+-?$|^-$/u.test(path))) {
          writes.push(...paths.map((path) => ({ path, appends: operator.includes('>>') })));
        }
      } else throw new NotUnderstood('a redirection that cannot be read');
    }
    return {
      stdin,
      extra,
      after: () => {
        for (const work of later) work();
      },
      /** Adds what the redirections write, for a command that gives nothing, or something. */
      write: (words: Word[]) => {
        const how = SILENT.has(words.join(' ')) ? 'empty' : 'replace';
        for (const { path, appends } of writes) {
          add(['>', path], flow, [{ kind: 'write', path, how: appends ? 'create' : how }]);
        }
      },
    };
  }

  /** Checked against the text: where it begins and ends decides what is run and what is only read. */
  function hereDocument(node: Node, source: string, flow: Flow): Stdin {
    const [start] = parts(node).filter((child) => child.type === 'heredoc_start');
    const [body] = parts(node).filter((child) => child.type === 'heredoc_body');
    const [end] = parts(node).filter((child) => child.type === 'heredoc_end');
    const [, quote, delimiter] = /^(['"]?)(\w+)\1$/u.exec(start?.text ?? '') ?? [];
    if (start === undefined || end === undefined || delimiter === undefined) {
      throw new NotUnderstood('a here-document that cannot be read');
    }
    const strips = node.children.some((child) => child?.type === '<<-');
    const from = source.indexOf('\n', start.endIndex) + 1;
    const lines = source.slice(from).split('\n');
    const length = lines.findIndex((line) => (strips ? line.replace(/^\t+/u, '') : line) === delimiter);
    const to = from + lines.slice(0, Math.max(length, 0)).join('\n').length;
    const lines_before = source.slice(from, end.startIndex).split('\n').length - 1;
    const ends_there = length >= 0 && lines_before === length && end.text.trim() === delimiter;
    const line = source.slice(start.endIndex, from - 1);
    if (from === 0 || !ends_there || /['"`\\]|<<|\$\(/u.test(line)) {
      throw new NotUnderstood('a here-document whose end is not clear');
    }
    if (quote !== '') return { kind: 'text', text: lines.slice(0, length).join('\n') };
    if (body === undefined || length === 0) return { kind: 'text', text: '' };
    const [text, ...more] = expandText(source, from, to, expansionsIn([body], source, flow));
    return text !== undefined && more.length === 0 ? { kind: 'text', text } : UNKNOWN;
  }

  /** Runs one simple command, all of its words known as far as they can be. */
  function run(words: Word[], flow: Flow): void {
    const [name, ...args] = words;
    if (name === undefined) return;
    if (flow.depth > MAX_NESTING) throw new NotUnderstood('commands nested too deep');
    if (isMarked(name)) {
      add(words, flow, [unclear('a command whose name is not known')]);
      return;
    }
    if (RESERVED.has(name)) throw new NotUnderstood(`${name} in the place of a command`);
    const program = posix.basename(name);

    const body = functions.get(name);
    if (body !== undefined) {
      if (flow.stack.includes(name)) {
        add(words, flow, [{ kind: 'danger', danger: 'fork_bomb' }]);
        return;
      }
      code(body, { ...flow, stdin: UNKNOWN, stack: [...flow.stack, name] });
    }
    builtin(program, args, flow);

    const inner = innerOf([program, ...args], flow.stdin);
    const deeds = [...deedsOf([program, ...args]), ...inner.filter((one) => one.kind === 'danger')];
    if (name.includes('/') && placesOf(name, flow).some((path) => written.has(path))) {
      deeds.push(unclear('it runs what it has just written'));
    }
    add([program, ...args], flow, deeds);
    for (const one of inner) {
      if (one.kind === 'command') {
        run(one.words, { ...flow, stdin: one.stdin ?? flow.stdin, depth: flow.depth + 1 });
      } else if (one.kind === 'code') code(one.text, { ...flow, stdin: UNKNOWN });
      else if (one.kind === 'file') runFile(one.path, words, flow);
    }
  }

  function runFile(path: Word, words: Word[], flow: Flow): void {
    const why = isUnknown(path)
      ? 'which script it runs is not known'
      : /^(-$|\/dev\/|\/proc\/)/u.test(path)
        ? 'the script it runs is made while it runs'
        : placesOf(path, flow).some((place) => written.has(place))
          ? 'it runs what it has just written'
          : undefined;
    if (why !== undefined) add(words, flow, [unclear(why)]);
  }

  /** What the shell's own commands change for the ones after them. */
  function builtin(name: string, args: Word[], flow: Flow): void {
    switch (name) {
      case 'cd':
      case 'pushd':
      case 'chdir': {
        const [target = TEXT] = args.filter((word) => word === '-' || !/^[-+]/u.test(word));
        const next = flow.folders.map((folder) => (target === '-' ? TEXT : joinPath(folder, target)));
        // In place: what comes after sees it. It may have failed.
        const all = [...new Set([...flow.folders, ...next])];
        flow.folders.splice(0, flow.folders.length, ...(all.length > MAX_FOLDERS ? [TEXT] : all));
        return;
      }
      case 'popd':
        flow.folders.splice(0, flow.folders.length, TEXT);
        return;
      case 'read':
      case 'readarray':
      case 'mapfile':
      case 'getopts':
      case 'wait':
      case 'printf':
        if (name === 'printf' && args[0] !== '-v') return;
        for (const word of args)
          for (const part of word.split(/[^\w]+/u)) if (part !== '') forget(flow, part);
        return;
      case 'let':
        calculates = true;
        for (const name of [...flow.variables.keys()]) forget(flow, name);
        return;
      default:
    }
  }

  function assignments(node: Node, source: string, flow: Flow): void {
    if (node.type === 'variable_assignment') {
      assign(node, source, flow);
      return;
    }
    for (const child of parts(node)) assign(child, source, flow);
  }

  function assign(node: Node, source: string, flow: Flow): void {
    const named = node.childForFieldName('name');
    const value = node.childForFieldName('value');
    const name = named?.type === 'subscript' ? named.childForFieldName('name')?.text : named?.text;
    if (name === undefined || named === null) throw new NotUnderstood('an assignment that cannot be read');
    if (named.type === 'subscript') {
      calculates = true;
      substitutions(named, source, flow);
    }
    const text = source.slice(node.startIndex, node.endIndex);
    if (node.parent?.type !== 'command' && TELLING.test(name)) add([text], flow, [told(name)]);
    const is_simple =
      named.type === 'variable_name' && value !== null && value.type !== 'array' && !text.includes('+=');
    if (value !== null && value.type === 'array') substitutions(value, source, flow);
    const values = value !== null && value.type !== 'array' ? textAt(value, source, flow) : [''];
    flow.variables.set(name, is_simple || value === null ? values : [WORDS]);
  }

  /** `export`, `declare`, `local`, `readonly`, `typeset`. */
  function declaration(node: Node, source: string, flow: Flow): void {
    for (const child of parts(node)) {
      if (child.type === 'variable_assignment') assign(child, source, flow);
      else if (child.type.endsWith('_redirect')) throw new NotUnderstood('a redirection that cannot be read');
      else {
        const options = textAt(child, source, flow);
        if (options.some((option) => isMarked(option) || /^[-+].*[ain]/iu.test(option))) {
          throw new NotUnderstood('a variable that is more than text');
        }
      }
    }
  }

  function forget(flow: Flow, name: string): void {
    flow.variables.set(name, [WORDS]);
  }

  /** Readings of a word, each the words it becomes. */
  function readings(node: Node, source: string, flow: Flow): Word[][] {
    return wordAt([node], node.startIndex, node.endIndex, source, flow);
  }

  function wordAt(nodes: Node[], from: number, to: number, source: string, flow: Flow): Word[][] {
    const found = expand(source, from, to, expansionsIn(nodes, source, flow));
    for (const reading of found) for (const word of reading) notice(word);
    return found;
  }

  function textAt(node: Node, source: string, flow: Flow): Word[] {
    const found = expandOne(source, node.startIndex, node.endIndex, expansionsIn([node], source, flow));
    found.forEach(notice);
    return found;
  }

  function notice(word: Word): void {
    if (/\$\(|`/u.test(word)) sleeping_code = true;
  }

  /** The expansions that stand directly in these words, and the commands in them. */
  function expansionsIn(nodes: Node[], source: string, flow: Flow) {
    const found = new Map<number, Node>();
    const collect = (node: Node): void => {
      if (EXPANSIONS.has(node.type)) found.set(node.startIndex, node);
      else for (const child of node.children) if (child !== null) collect(child);
    };
    for (const node of nodes) collect(node);
    const values = new Map<number, Expansion>();
    for (const [at, node] of found) {
      values.set(at, { end: node.endIndex, values: worth(node, source, flow) });
    }
    return (index: number) => values.get(index);
  }

  function worth(node: Node, source: string, flow: Flow): Word[] {
    const text = node.text;
    switch (node.type) {
      case 'simple_expansion':
        return variable(text.slice(1), flow);
      case 'expansion': {
        const [, name] = /^\$\{(\w+)\}$/u.exec(text) ?? [];
        if (name !== undefined) return variable(name, flow);
        // It runs what the value says.
        if (/@[A-Za-z]\}$/u.test(text)) throw new NotUnderstood('a value that is run again');
        if (/\[|:\s*[^-=+?\s]/u.test(text)) calculates = true;
        if (text.includes('=')) forget(flow, /\w+/u.exec(text)?.[0] ?? '');
        below(node, source, flow);
        return [text.startsWith('${#') ? SOME : WORDS];
      }
      case 'command_substitution': {
        if (text.startsWith('`') && text.includes('\\'))
          throw new NotUnderstood('quotes inside of backticks');
        sequenceOfSubstitution(node, source, flow);
        return /^\$\(\s*pwd\s*\)$/u.test(text) ? flow.folders.map((folder) => folder) : [WORDS];
      }
      case 'process_substitution':
        sequenceOfSubstitution(node, source, flow);
        return ['/dev/fd/63'];
      default:
        calculates = true;
        below(node, source, flow);
        return [SOME];
    }
  }

  /** `$(< file)` is no command; everything else in there is. */
  function sequenceOfSubstitution(node: Node, source: string, flow: Flow): void {
    const inner = { ...apart(flow), depth: flow.depth + 1 };
    if (inner.depth > MAX_NESTING) throw new NotUnderstood('commands nested too deep');
    const children = parts(node);
    const [only] = children;
    if (children.length === 1 && only?.type === 'file_redirect') {
      command(undefined, children, source, inner);
    } else sequence(node, source, inner);
  }

  function variable(name: string, flow: Flow): Word[] {
    if (/^[?#$!]$/u.test(name)) return [SOME];
    if (fickle.has(name)) return [WORDS];
    const known = flow.variables.get(name);
    if (known !== undefined) return known;
    return name === 'PWD' ? [...flow.folders] : [WORDS];
  }

  /** Commands anywhere below a node whose own value is of no interest. */
  function substitutions(node: Node, source: string, flow: Flow): void {
    if (EXPANSIONS.has(node.type)) {
      worth(node, source, flow);
      return;
    }
    if (
      node.type === 'word' ||
      node.type === 'raw_string' ||
      node.type === 'string' ||
      node.type === 'concatenation'
    ) {
      textAt(node, source, flow);
      return;
    }
    if (node.type === 'ansi_c_string') {
      notice(node.text);
      return;
    }
    if (node.isNamed && node.childCount === 0 && /[$<>]\(|`/u.test(node.text)) {
      throw new NotUnderstood('an expansion that cannot be read');
    }
    below(node, source, flow);
  }

  function below(node: Node, source: string, flow: Flow): void {
    for (const child of node.children) if (child !== null) substitutions(child, source, flow);
  }

  return { steps, code };
}

const told = (name: string) => unclear(`${name} changes what other programs do`);

/** A copy: what is set in it is not seen outside. */
const copy = (flow: Flow): Flow => ({ ...flow, variables: new Map(flow.variables) });
const apart = (flow: Flow): Flow => ({ ...copy(flow), folders: [...flow.folders] });

/** What gives nothing, so that its redirection empties the file. */
const SILENT = new Set(['', ':', 'true', 'false', 'cat /dev/null', 'echo -n', "printf ''", 'printf ']);

function combine(words: Word[][][]): Word[][] {
  let combined: Word[][] = words.length === 0 ? [] : [[]];
  for (const alternatives of words) {
    combined = combined.flatMap((before) => alternatives.map((more) => [...before, ...more]));
    if (combined.length > MAX_READINGS) throw new NotUnderstood('too many possible readings');
  }
  return combined;
}

const joinPath = (folder: Word, path: Word): Word => {
  if (path.startsWith('/')) return path;
  if (isUnknown(path) || isUnknown(folder)) return TEXT;
  return path.startsWith(BELOW) ? folder + path : posix.join(folder, path);
};
