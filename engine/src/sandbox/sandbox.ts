/**
 * Where everything runs that a tool, a skill or a hook executes: each command in walls of its own, made when it begins.
 *
 * There is no way in which a command of a model runs without them by accident. What this machine has is found out
 * before the first command, the walls are attacked from inside before anybody relies on them, and a wall that does not
 * hold means that no command runs, not that it runs with less. Only an operator can say `SANDBOX_MODE=none`.
 * Source: engine-runtime, "Sandbox"; E21.
 */
import { writeFileSync } from 'node:fs';
import { errorFields, type Log } from '../observe/log.ts';
import { bubblewrapArguments, fileRules, type Policy } from './bubblewrap.ts';
import {
  type Command,
  type Ended,
  type Process,
  runCommand,
  SECCOMP_FD,
  start,
  untilEnded,
} from './command.ts';
import type { Egress } from './egress.ts';
import type { Host } from './host.ts';
import { type Limits, processLimits } from './limits.ts';
import { INSIDE, LAUNCHER, mountPoints, placesOf, systemPlaces } from './places.ts';
import type { Roots } from './roots.ts';
import { openScratch } from './scratch.ts';
import { attack, type Findings } from './self_test.ts';
import { createWatchdog } from './watchdog.ts';

/** For whom a command runs: a task's commands share its scratch folder; a hook sees the catalog instead. */
export type Occasion =
  | { kind: 'task'; task_id: string; turn_id: string; opened: { paths: string[]; hosts: string[] } }
  | { kind: 'hook' };

export type SandboxCommand = Pick<Command, 'words' | 'cwd' | 'stdin' | 'timeout_ms'>;

/** `active`: tried, and it holds. `missing`: this machine has none. `broken`: there, and something got through. */
export type LayerState = { state: 'active' | 'missing' | 'broken'; reason?: string };

export type SandboxState = {
  /** `none`: switched off by the operator. `unchecked`: not attacked yet. */
  mode: 'sandboxed' | 'refused' | 'unchecked' | 'none';
  layers: Record<string, LayerState>;
  /** Unix milliseconds. */
  checked_at: number | null;
};

export type Sandbox = {
  /**
   * Runs a command. Of a task, what it leaves running goes on until `endTurn`, of a hook it ends with it.
   * @throws `signal.reason` after an abort.
   */
  run(command: SandboxCommand, occasion: Occasion, signal: AbortSignal): Promise<Ended>;
  /** Kills what the commands of a turn have left running. */
  endTurn(turn_id: string): void;
  /** Removes what a task has in its scratch folder. */
  forgetTask(task_id: string): void;
  /** Finds out what the machine has, and attacks it. */
  check(): Promise<SandboxState>;
  state(): SandboxState;
};

export type SandboxParts = {
  mode: 'auto' | 'none';
  roots: Roots;
  catalog_dir: string;
  /** What the machine has for walls; asked at each check. */
  findHost: () => Promise<Host | { reason: string }>;
  /** Where programs are found without walls; within them only system folders count. */
  path: string;
  /** Made visible inside, for scripts. */
  node: string;
  limits: Limits;
  egress: Egress;
  /** The Engine's own port, which nothing inside may reach. */
  engine_port: number;
  log: Log;
  now: () => number;
};

/** All a command finds in its environment. Programs are looked for in system folders; Node.js is the Engine's own. */
const ENVIRONMENT = {
  PATH: `/usr/local/bin:/usr/bin:/bin:${INSIDE}/bin`,
  HOME: '/tmp',
  USER: 'agent',
  LANG: 'C.UTF-8',
  TERM: 'dumb',
};

/** What programs look for that know proxies, most of them: there they find the Engine's (`launch.pl`). */
const PROXY_SOCKET = `${INSIDE}/proxy`;
const PROXY_PORT = 3128;
const PROXY = `http://127.0.0.1:${PROXY_PORT}`;
const PROXY_ENVIRONMENT = {
  ...{ http_proxy: PROXY, https_proxy: PROXY, HTTP_PROXY: PROXY, HTTPS_PROXY: PROXY },
  ...{ no_proxy: 'localhost,127.0.0.1', NO_PROXY: 'localhost,127.0.0.1', NODE_USE_ENV_PROXY: '1' },
};

/** Commands that run and worlds that were left running, of all turns: each may take what `Limits` allow. */
const MAX_SANDBOXES = 32;

const UNCHECKED: SandboxState = { mode: 'unchecked', layers: {}, checked_at: null };

export function createSandbox(parts: SandboxParts): Sandbox {
  const { mode, roots, limits, log, now } = parts;
  const scratch = openScratch(`${roots.brain_path}.scratch`, mountPoints(roots), log);
  const watchdog = createWatchdog(limits);
  const system = systemPlaces(parts.node);
  /** What was left running, by turn. */
  const left = new Map<string, Set<Process>>();
  let count = 0;
  let known: Promise<{ host: Host | undefined; state: SandboxState }> | undefined;
  let state: SandboxState = mode === 'none' ? { mode: 'none', layers: {}, checked_at: null } : UNCHECKED;

  function policyOf(occasion: Occasion, cwd: string, host: Host): Policy & { disks: string[] } {
    const of_task = occasion.kind === 'task';
    const tmp = of_task ? scratch.of(occasion.task_id) : null;
    const places = placesOf({
      roots,
      opened: of_task ? occasion.opened.paths : [],
      catalog: { path: parts.catalog_dir, shown: !of_task },
      scratch: tmp,
    });
    const disks = [...roots.paths, ...(tmp === null ? [] : [tmp])];
    return { places: [...system, ...places], proc: host.proc, cwd, disks };
  }

  async function startInside(host: Host, command: SandboxCommand, occasion: Occasion): Promise<Process> {
    const policy = policyOf(occasion, command.cwd, host);
    const hosts = occasion.kind === 'task' ? occasion.opened.hosts : [];
    // Without perl there is nothing inside that would lead to it.
    const way = host.perl === undefined ? undefined : await parts.egress.open(hosts);
    if (way !== undefined) policy.places.push({ kind: 'read', from: way.socket, at: PROXY_SOCKET });
    const launcher =
      host.perl === undefined
        ? []
        : [
            ...[host.perl, LAUNCHER, process.arch],
            ...(host.landlock ? fileRules(policy) : []),
            ...processLimits(limits, host.threads_counted),
            ...(way === undefined ? [] : [`proxy=${PROXY_PORT}:${PROXY_SOCKET}`]),
            '--',
          ];
    const filter = host.seccomp === undefined ? undefined : SECCOMP_FD;
    const group = host.groups?.open(limits.threads);
    const walls = [host.bubblewrap, ...bubblewrapArguments(policy, filter)];
    const words = [...(group?.enter ?? []), ...walls, ...launcher, ...command.words];
    const running = start(
      {
        ...command,
        words,
        cwd: '/',
        env: way === undefined ? ENVIRONMENT : { ...ENVIRONMENT, ...PROXY_ENVIRONMENT },
      },
      { seccomp: host.seccomp, told: host.perl !== undefined },
    );
    running.gone.then(() => {
      count--;
      way?.close();
      void group?.close();
    });
    chooseFirst(running.pid);
    watchdog.watch(running, policy.disks);
    return running;
  }

  async function runInside(host: Host, command: SandboxCommand, occasion: Occasion, signal: AbortSignal) {
    signal.throwIfAborted();
    if (count >= MAX_SANDBOXES) {
      const message = `${MAX_SANDBOXES} commands run already, or were left running; wait for their end`;
      return {
        exit_code: null,
        stdout: '',
        stderr: '',
        failure: { reason: 'limit', message },
      } satisfies Ended;
    }
    count++;
    const running = await startInside(host, command, occasion).catch((error) => {
      count--;
      throw error;
    });
    if (occasion.kind === 'task') leave(occasion.turn_id, running);
    const ended = await untilEnded(running, signal);
    if (occasion.kind === 'hook') running.kill();
    return ended;
  }

  function leave(turn_id: string, running: Process): void {
    const of_turn = left.get(turn_id) ?? new Set();
    left.set(turn_id, of_turn.add(running));
    running.gone.then(() => {
      of_turn.delete(running);
      if (of_turn.size === 0 && left.get(turn_id) === of_turn) left.delete(turn_id);
    });
  }

  async function examine() {
    const found = await parts.findHost();
    if ('reason' in found) {
      const layers = {
        bubblewrap: { state: 'missing', reason: found.reason },
      } satisfies SandboxState['layers'];
      return settle(undefined, { mode: 'refused', layers, checked_at: now() });
    }
    const findings = await attack({
      brain_path: roots.brain_path,
      engine_port: parts.engine_port,
      limits,
      host: found,
      // However many run already: what cannot be attacked is not relied on.
      run: async (command) => {
        count++;
        return (await startInside(found, { ...command, cwd: '/' }, { kind: 'hook' })).ended;
      },
    });
    // The machine was too busy, perhaps; the next command has it tried again.
    if (findings.unfinished !== undefined) known = undefined;
    const layers = layersOf(found, findings);
    const broken = Object.values(layers).some((layer) => layer.state === 'broken');
    return settle(found, { mode: broken ? 'refused' : 'sandboxed', layers, checked_at: now() });
  }

  function settle(host: Host | undefined, found: SandboxState) {
    state = found;
    const extra = { mode: state.mode, layers: state.layers };
    if (state.mode === 'sandboxed') log.info('The sandbox holds', { extra });
    else log.error('Commands are refused: the sandbox does not hold here', { extra });
    return { host, state };
  }

  function check() {
    known = examine().catch((error) => {
      log.error('The sandbox could not be checked', { extra: errorFields(error) });
      const layers = { bubblewrap: { state: 'missing', reason: 'it could not be checked' } } as const;
      return settle(undefined, { mode: 'refused', layers, checked_at: now() });
    });
    return known;
  }

  return {
    async run(command, occasion, signal) {
      if (mode === 'none') {
        return runCommand({ ...command, env: { ...ENVIRONMENT, PATH: parts.path } }, signal);
      }
      const { host, state } = await (known ?? check());
      if (host === undefined || state.mode !== 'sandboxed') return refused(state);
      return runInside(host, command, occasion, signal);
    },
    endTurn(turn_id) {
      for (const running of left.get(turn_id) ?? []) running.kill();
    },
    forgetTask: scratch.forget,
    check: async () => (mode === 'none' ? state : (await check()).state),
    state: () => state,
  };
}

/** When memory runs out all the same, it is to be a command that the kernel kills, not the Engine. */
function chooseFirst(pid: number | undefined): void {
  try {
    if (pid !== undefined) writeFileSync(`/proc/${pid}/oom_score_adj`, '1000');
  } catch {
    // It has ended, or the machine does not let us: the watchdog still looks after it.
  }
}

function refused({ layers }: SandboxState): Ended {
  const reasons = Object.entries(layers)
    .filter(([, layer]) => layer.state !== 'active')
    .map(([name, { state, reason }]) => `${name} ${state}${reason === undefined ? '' : ` (${reason})`}`);
  const message = `this Engine has no sandbox that holds: ${reasons.join(', ')}`;
  return { exit_code: null, stdout: '', stderr: '', failure: { reason: 'unavailable', message } };
}

function layersOf(host: Host, { broken, unfinished }: Findings): Record<string, LayerState> {
  const has = {
    bubblewrap: true,
    seccomp: host.seccomp !== undefined,
    landlock: host.landlock,
    limits: host.perl !== undefined,
  };
  const reasons = {
    seccomp: 'no filter for this machine',
    landlock: 'not in this kernel, or no perl',
    limits: 'no perl',
  };
  return Object.fromEntries(
    Object.entries(has).map(([name, there]): [string, LayerState] => {
      const through = broken.filter(({ layer }) => layer === name).map((found) => found.name);
      if (there && unfinished !== undefined) return [name, { state: 'broken', reason: unfinished }];
      if (there && through.length > 0) return [name, { state: 'broken', reason: through.join(', ') }];
      if (there) return [name, { state: 'active' }];
      return [name, { state: 'missing', reason: reasons[name as keyof typeof reasons] }];
    }),
  );
}
