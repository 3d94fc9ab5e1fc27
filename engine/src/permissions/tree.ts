/**
 * The tree of the grammar, looked at closely: what its nodes are, and whether they are what bash would see.
 *
 * A grammar for editors forgives much. Text that it skips, a `#` that it takes for a comment, a line that goes on in
 * the middle of a word: each would be a place to hide a command in. So whatever is not exactly accounted for is not
 * understood. Source: engine-runtime, "Permissions".
 */
import { type Node, NotUnderstood } from './grammar.ts';

/** What goes round. */
export const LOOPS = new Set(['while_statement', 'for_statement', 'c_style_for_statement']);

/** What becomes something else inside of a word. */
export const EXPANSIONS = new Set([
  'simple_expansion',
  'expansion',
  'command_substitution',
  'process_substitution',
  'arithmetic_expansion',
]);

/** What can be run. */
export const STATEMENTS = new Set([
  'command',
  'list',
  'pipeline',
  'subshell',
  'compound_statement',
  'redirected_statement',
  'negated_command',
  'test_command',
  'declaration_command',
  'unset_command',
  'variable_assignment',
  'variable_assignments',
  'if_statement',
  'case_statement',
  'while_statement',
  'for_statement',
  'c_style_for_statement',
  'function_definition',
]);

export const parts = (node: Node): Node[] => node.namedChildren.filter((child) => child !== null);

export const childrenOf = (node: Node, field: string): Node[] =>
  node
    .childrenForFieldName(field)
    .filter((child) => child !== null)
    .filter((child) => child.isNamed);

/** What a command is made of, checked for what the grammar has skipped. */
export function flatten(node: Node, source: string): Node[] {
  checkGaps(node, source);
  return node.children.filter((child) => child !== null);
}

/** Words that touch are one. */
export function joined(nodes: Node[]): Node[][] {
  const groups: Node[][] = [];
  for (const node of nodes) {
    const group = groups.at(-1);
    if (group !== undefined && group.at(-1)?.endIndex === node.startIndex) group.push(node);
    else groups.push([node]);
  }
  return groups;
}

/** Names of the variables that something below a node may set. */
export function assignedIn(node: Node): Set<string> {
  const names = new Set<string>();
  const look = (one: Node): void => {
    if (one.type === 'variable_assignment') names.add(/^\w+/u.exec(one.text)?.[0] ?? '');
    if (one.type === 'for_statement') names.add(one.childForFieldName('variable')?.text ?? '');
    if (one.type === 'command' || one.type === 'declaration_command') {
      const [first, ...rest] = one.text.split(/[^\w]+/u);
      if (first !== undefined && /^(read|mapfile|readarray|getopts|printf|let|IFS)$/u.test(first)) {
        for (const word of rest) names.add(word);
      }
    }
    for (const child of one.children) if (child !== null) look(child);
  };
  for (const child of node.children) if (child !== null) look(child);
  names.delete('');
  return names;
}

/** The grammar may skip what bash would not; between two tokens there must be nothing but blanks. */
export function checkGaps(node: Node, source: string): void {
  let at = node.startIndex;
  for (const child of node.children) {
    if (child === null || child.startIndex < at) continue;
    if (!/^(?:[ \t\n]|\\\n)*$/u.test(source.slice(at, child.startIndex))) {
      throw new NotUnderstood('a part that does not read as a command');
    }
    at = child.endIndex;
  }
}

const TOKENS = new Set(
  '; & && || | |& ;; ;& ;;& ( ) (( )) { } \n if then elif else fi case in esac for select while until do done ! $( ` <( >( ,'.split(
    ' ',
  ),
).add('\n');

/** Only what the forms that are walked are made of. */
export function checkToken(node: Node): void {
  if (!TOKENS.has(node.type) && !/^\s*$/u.test(node.type)) {
    throw new NotUnderstood('a form that is not known here');
  }
}

/** `a#b` and `\\ #b` are no comments, and what stands behind would be lost. */
export function checkComment(node: Node, source: string): void {
  const before = source.slice(0, node.startIndex);
  if (!/(^|[\n;&|()]|(^|[^\\])[ \t])$/u.test(before)) throw new NotUnderstood('a # that is no comment');
}

/**
 * What bash and the grammar read differently is refused before either is asked: control characters, and a line that
 * is continued in the middle of a word.
 */
export function checkText(text: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\x00-\x08\x0b-\x1f\x7f]/u.test(text)) throw new NotUnderstood('control characters');
  for (const { index } of text.matchAll(/(?<!\\)(?:\\\\)*\\\n/gu)) {
    const end = text.indexOf('\n', index);
    const before = text.slice(0, end - 1);
    if (!/[ \t\n]$/u.test(before) && !/^[ \t]/u.test(text.slice(end + 1))) {
      throw new NotUnderstood('a line that goes on inside a word');
    }
  }
}
