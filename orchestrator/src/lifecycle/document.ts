/**
 * The machine's documentation, made from the machine's tables: what people read is what runs. A test compares
 * it with `docs/lifecycle.md`, so neither can change alone.
 */
import type { EngineStatus, SleepDepth } from '../registry/engines.ts';
import type { OperationKind } from '../registry/operations.ts';
import { type Cause, DEPTHS, OPERATIONS, STATES } from './machine.ts';

/** Between these lines of a page stands what this file makes. */
export const BEGIN = '<!-- generated from orchestrator/src/lifecycle/machine.ts; do not edit -->';
export const END = '<!-- end of the generated part -->';

const CAUSES: Record<Cause, string> = {
  product: 'a call of the product',
  admit: 'an admit',
  reconcile: 'health and reconcile, by themselves',
  idle: 'the idle detector',
  retention: "the end of a tombstone's time",
  warm_pool: 'the keeper of the warm pool',
  rollout: 'the roll-out of an image',
  failed_upgrade: 'an upgrade that failed, at once',
};

const kinds = Object.keys(OPERATIONS) as OperationKind[];

/** The diagram and the tables, in Markdown. */
export function documentMachine(): string {
  return [diagram(), states(), operations(), depths()].join('\n\n');
}

/** `page` with its generated part made anew. Throws where it has none. */
export function withGenerated(page: string): string {
  const [begin, end] = [page.indexOf(BEGIN), page.indexOf(END)];
  if (begin < 0 || end < begin) throw new TypeError('the page has no generated part');
  return `${page.slice(0, begin + BEGIN.length)}\n\n${documentMachine()}\n\n${page.slice(end)}`;
}

/** States and what leads from each to the next; `[*]` is no engine. */
function diagram(): string {
  const arrows = new Map<string, string[]>();
  const draw = (from: EngineStatus | null, to: EngineStatus | null, label: string) => {
    const arrow = `${from ?? '[*]'} --> ${to ?? '[*]'}`;
    arrows.set(arrow, [...(arrows.get(arrow) ?? []), label]);
  };
  for (const kind of kinds) {
    const { from, during, success, failure } = OPERATIONS[kind];
    for (const state of from) {
      // Who is there already, and is taken up again, draws no arrow to itself.
      if (during !== undefined && state !== during) draw(state, during, kind);
      if (during === undefined && success !== undefined) draw(state, success, kind);
      if (during === undefined && failure !== undefined && failure !== state)
        draw(state, failure, `${kind} fails`);
    }
    if (during !== undefined && success !== undefined) draw(during, success, `${kind} done`);
    if (during !== undefined && failure !== undefined) draw(during, failure, `${kind} fails`);
  }
  draw('running', 'failed', 'ill, or gone');
  const lines = [...arrows].map(([arrow, labels]) => `  ${arrow}: ${labels.join(', ')}`);
  return ['```mermaid', 'stateDiagram-v2', ...lines, '```'].join('\n');
}

function states(): string {
  const rows = Object.entries(STATES).map(([state, { transitional, meaning }]) => [
    code(state),
    transitional ? 'while its operation is under way' : 'until something happens',
    meaning,
  ]);
  return `### States\n\n${table(['State', 'Rests there', 'Meaning'], rows)}`;
}

function operations(): string {
  const rows = kinds.map((kind) => {
    const { from, during, success, failure, steps, warm_steps, deadline, besides_s, causes, refusal, audit } =
      OPERATIONS[kind];
    const inOrder = typeof steps === 'string' ? `the way ${steps}, by depth` : steps.map(code).join(', ');
    return [
      code(kind),
      from.map((state) => (state === null ? 'no engine' : code(state))).join(', '),
      during === undefined ? 'as before' : code(during),
      success === undefined ? 'as before' : success === null ? 'no engine' : code(success),
      failure === undefined ? 'as before' : code(failure),
      warm_steps === undefined
        ? inOrder
        : `${inOrder}; from the warm pool: ${warm_steps.map(code).join(', ')}`,
      (typeof deadline === 'string' ? code(deadline) : `${deadline} s`) +
        (besides_s === undefined ? '' : ` and ${besides_s} s`),
      causes.map((cause) => CAUSES[cause]).join('; '),
      code(refusal),
      [...new Set([audit.begin, audit.success, audit.failure])]
        .filter((a) => a !== undefined)
        .map(code)
        .join(', '),
    ];
  });
  const head = [
    'Operation',
    'From',
    'During',
    'Done',
    'Failed',
    'Steps',
    'Deadline',
    'Caused by',
    'Refused with',
    'Audit',
  ];
  return `### Operations\n\n${table(head, rows)}`;
}

function depths(): string {
  const rows = (Object.keys(DEPTHS) as SleepDepth[]).map((depth) => {
    const { meaning, down, up } = DEPTHS[depth];
    return [code(depth), meaning, down.map(code).join(', '), up.map(code).join(', ')];
  });
  return `### Depths of sleep\n\n${table(['Depth', 'Meaning', 'Steps down', 'Steps up'], rows)}`;
}

const code = (word: string) => `\`${word}\``;

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
