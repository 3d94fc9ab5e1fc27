/**
 * The crash matrix: every operation, killed at every point where it has done one thing and not yet the next.
 * What the points are follows from the machine's own table, so a new step or operation is in here by itself.
 */
import { FAILPOINTS, type Failpoint } from '../../src/failpoints.ts';
import { type Step, stepsFrom, stepsOf } from '../../src/lifecycle/machine.ts';
import type { EngineStatus, SleepDepth } from '../../src/registry/engines.ts';
import type { OperationKind } from '../../src/registry/operations.ts';
import type { Call } from '../support/orchestrator.ts';
import type { StandInBehaviour } from '../support/stand_in_engine.ts';

type Request = { method: string; path: string; body?: object };

export type Scenario = {
  name: string;
  kind: OperationKind;
  /** The depth of sleep it leads to or out of. */
  depth: SleepDepth | null;
  /** Its first step, where it is not that of the table: the engine is down. */
  begins_at?: Step;
  /** An engine stands ready in the warm pool before. */
  warm?: true;
  /** What happens before, to user ada. */
  before: readonly Request[];
  /** How engines behave in the meantime. */
  behaviour?: StandInBehaviour;
  /** The next image, which the orchestrators after that are configured with, and how its engines behave. */
  next_image?: StandInBehaviour;
  request: Request;
  /** What its brain holds after it, behind what was in there before; and the image it has. */
  brain?: string;
  image?: string;
  /** Where the engine is after it; null: gone. */
  end: { status: EngineStatus; sleep_depth: SleepDepth | null } | null;
};

const post = (path: string, body?: object): Request => ({ method: 'POST', path, body });
const provision = post('/engines/provision', { user_id: 'ada' });
const stop = post('/engines/ada/stop');
const start = post('/engines/ada/start');
const wake = post('/engines/ada/wake');
const admit = post('/engines/ada/admit', { auto_wake: true });
const destroy: Request = { method: 'DELETE', path: '/engines/ada' };
const retire: Request = { method: 'DELETE', path: '/engines/ada?retain=true' };
const erase: Request = { method: 'DELETE', path: '/engines/ada?retain=false' };
const restore = post('/engines/ada/restore');
const sleep = (depth: SleepDepth) => post('/engines/ada/sleep', { depth });

const running = { status: 'running', sleep_depth: null } as const;
const stopped = { status: 'stopped', sleep_depth: null } as const;
const asleep = (sleep_depth: SleepDepth) => ({ status: 'sleeping', sleep_depth }) as const;

export const SCENARIOS: readonly Scenario[] = [
  { name: 'provision', kind: 'provision', depth: null, before: [], request: provision, end: running },
  {
    name: 'provision (warm)',
    kind: 'provision',
    depth: null,
    warm: true,
    before: [],
    request: provision,
    end: running,
  },
  { name: 'start', kind: 'start', depth: null, before: [provision, stop], request: start, end: running },
  {
    name: 'restart',
    kind: 'restart',
    depth: null,
    before: [provision],
    behaviour: { exit_code: 1 },
    request: admit,
    end: running,
  },
  { name: 'stop', kind: 'stop', depth: null, before: [provision], request: stop, end: stopped },
  {
    name: 'doze',
    kind: 'sleep',
    depth: 'doze',
    before: [provision],
    request: sleep('doze'),
    end: asleep('doze'),
  },
  {
    name: 'hibernate',
    kind: 'sleep',
    depth: 'hibernate',
    before: [provision, sleep('doze')],
    request: sleep('hibernate'),
    end: asleep('hibernate'),
  },
  {
    name: 'wake (doze)',
    kind: 'wake',
    depth: 'doze',
    before: [provision, sleep('doze')],
    request: wake,
    end: running,
  },
  {
    name: 'wake (hibernate)',
    kind: 'wake',
    depth: 'hibernate',
    before: [provision, sleep('hibernate')],
    request: wake,
    end: running,
  },
  { name: 'destroy', kind: 'destroy', depth: null, before: [provision], request: destroy, end: null },
  {
    name: 'destroy retained',
    kind: 'retire',
    depth: null,
    before: [provision],
    request: retire,
    end: { status: 'destroyed', sleep_depth: null },
  },
  {
    name: 'restore',
    kind: 'restore',
    depth: null,
    before: [provision, retire],
    request: restore,
    end: running,
  },
  {
    name: 'rotate-key',
    kind: 'rotate-key',
    depth: null,
    before: [provision],
    request: post('/engines/ada/rotate-key'),
    end: running,
  },
  {
    name: 'upgrade',
    kind: 'upgrade',
    depth: null,
    begins_at: 'stop',
    before: [provision, stop],
    next_image: { writes: 'new;' },
    request: start,
    end: running,
    brain: 'new;',
    image: 'next',
  },
  {
    name: 'rollback',
    kind: 'rollback',
    depth: null,
    before: [provision, stop],
    next_image: { writes: 'rubbish;', exit_code: 1 },
    request: start,
    end: running,
    brain: '',
    image: 'first',
  },
  { name: 'purge', kind: 'purge', depth: null, before: [provision, retire], request: erase, end: null },
];

/** What a step does between its two points. */
const WITHIN: Partial<Record<Step, Failpoint[]>> = {
  create: ['create.fenced', 'create.replaced', 'create.made', 'create.ready', 'create.spawned'],
  stop: ['stop.terminated'],
  snapshot: ['snapshot.copied'],
  revert: ['revert.copied', 'revert.swapping'],
  remove: ['remove.marked', 'stop.terminated', 'remove.stopped'],
};

/** The points that an operation comes by, in order. */
export function pointsOf({ kind, depth, warm, begins_at }: Scenario): Failpoint[] {
  const steps = stepsOf(kind, depth, warm);
  const left = begins_at === undefined ? steps : stepsFrom(steps, begins_at);
  const around = left.flatMap((step): Failpoint[] => [
    `${step}.before`,
    ...(WITHIN[step] ?? []),
    `${step}.after`,
  ]);
  const all: Failpoint[] = [
    'begin.before',
    'begin.committed',
    'claim.committed',
    ...around,
    'end.before',
    'end.committed',
  ];
  // Points of a rollback that its upgrade comes by as well would be hit there; those are the upgrade's own cells.
  return kind === 'rollback' ? all.filter((point) => /^(revert|end)/.test(point)) : all;
}

export type Cell = { scenario: Scenario; point: Failpoint };

export const CELLS: readonly Cell[] = SCENARIOS.flatMap((scenario) =>
  pointsOf(scenario).map((point) => ({ scenario, point })),
);

/** A cell by its name, for the slice. */
export function cell(name: string, point: Failpoint): Cell {
  const found = CELLS.find((one) => one.scenario.name === name && one.point === point);
  if (found === undefined) throw new Error(`no cell ${name} × ${point}`);
  return found;
}

/** All points of the catalogue that no operation comes by; a point that is never hit tests nothing. */
export const unusedPoints = () =>
  Object.keys(FAILPOINTS).filter((point) => !CELLS.some((one) => one.point === point));

export const send = (call: Call, { method, path, body }: Request, key: string, headers = {}) =>
  call(method, path, { key, headers, ...(body !== undefined && { body }) });
