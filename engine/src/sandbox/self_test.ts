/**
 * The Engine's attacks on its own walls: a few ways out, tried from inside by a command like any other. Each would get
 * through if just its layer were away, so it tells whether this layer holds, whatever the others do. A wall that is
 * only believed in is worse than none: kernels, containers and settings take layers away without a word.
 * Source: engine-runtime, "Sandbox"; E21. The longer list of ways out is a test suite (`test/escape`).
 */
import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Command, Ended } from './command.ts';
import type { Host } from './host.ts';
import type { Limits } from './limits.ts';
import { LAUNCHER } from './places.ts';

export type Layer = 'bubblewrap' | 'seccomp' | 'landlock' | 'limits';

/** `unfinished`: why the attacks did not come to their end, so that nothing is known. */
export type Findings = { broken: { layer: Layer; name: string }[]; unfinished?: string };

/** A line of shell that succeeds when it got through. */
type Attack = { layer: Layer; name: string; line: string };

/** All attacks together take some 50 ms on a quiet machine. */
const TIMEOUT_MS = 30_000;

export type SelfTest = {
  brain_path: string;
  engine_port: number;
  limits: Limits;
  host: Host;
  run(command: Pick<Command, 'words' | 'stdin' | 'timeout_ms'>): Promise<Ended>;
};

export async function attack({ brain_path, engine_port, limits, host, run }: SelfTest): Promise<Findings> {
  const attacks = [...ofBubblewrap(brain_path, engine_port)];
  if (host.proc === 'own' && host.perl !== undefined) {
    attacks.push({
      layer: 'bubblewrap',
      name: 'sees the processes of the host',
      line: `! grep -q ${LAUNCHER} /proc/1/cmdline`,
    });
  }
  if (host.seccomp !== undefined && host.perl !== undefined) attacks.push(...ofSeccomp(host.perl));
  if (host.landlock) attacks.push({ layer: 'landlock', name: 'reads a folder without a rule', line: 'ls /' });
  if (host.perl !== undefined) attacks.push(...ofLimits(limits));

  const lines = attacks.map(({ line }, index) => `( ${line} ) >/dev/null 2>&1 && echo ${index}`);
  const script = [...lines, 'echo end'].join('\n');
  const ended = await run({ words: ['bash', '-c', script], stdin: '', timeout_ms: TIMEOUT_MS });
  const through = ended.stdout.trim().split('\n');
  if (through.pop() !== 'end') {
    return { broken: [], unfinished: `not tried: ${ended.failure?.message ?? ended.stderr.slice(0, 300)}` };
  }
  return { broken: through.flatMap((index) => attacks[Number(index)] ?? []) };
}

function ofBubblewrap(brain_path: string, engine_port: number): Attack[] {
  const home = statSync(dirname(brain_path));
  const attacks = {
    'reads the brain': `head -c 1 ${quoted(brain_path)}`,
    'sees the folder of the brain': `[ "$(stat -c %d:%i ${quoted(dirname(brain_path))})" = ${home.dev}:${home.ino} ]`,
    'reads the passwords of the host': 'cat /etc/shadow',
    'writes programs of the host': 'touch /usr/bin',
    'writes settings of the kernel': ': >> /proc/sys/kernel/core_pattern',
    'reaches the Engine': `exec 3<>/dev/tcp/127.0.0.1/${engine_port}`,
    'has the name of the host': '[ "$(uname -n)" != sandbox ]',
    'has capabilities': 'grep -q "^CapEff:.*[1-9a-f]" /proc/self/status',
  };
  return Object.entries(attacks).map(([name, line]) => ({ layer: 'bubblewrap', name, line }));
}

/** Both would succeed for any process. */
function ofSeccomp(perl: string): Attack[] {
  const calls =
    process.arch === 'x64'
      ? { ptrace: '101, 0', unshare: '272, 0x10000000' }
      : { ptrace: '117, 0', unshare: '97, 0x10000000' };
  return Object.entries(calls).map(([name, call]) => ({
    layer: 'seccomp',
    name: `calls ${name}`,
    line: `${perl} -e 'exit(syscall(${call}, 0, 0, 0) == 0 ? 0 : 1)'`,
  }));
}

function ofLimits(limits: Limits): Attack[] {
  return [
    { layer: 'limits', name: 'opens more files', line: `[ "$(ulimit -n)" -gt ${limits.open_files} ]` },
    { layer: 'limits', name: 'leaves a picture of its memory', line: '[ "$(ulimit -c)" != 0 ]' },
    { layer: 'limits', name: 'writes larger files', line: `[ "$(ulimit -f)" = unlimited ]` },
  ];
}

const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;
