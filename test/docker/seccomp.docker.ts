/**
 * deploy/engine_seccomp.json: it is as open as the sandbox needs, and no more. That a call is refused says nothing where
 * the one who calls has no right to it anyway. So calls are made by root with the capabilities for it, with arguments that do
 * nothing, and each is made without the profile too: there it must not be refused.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { numbers } from '../../engine/test/escape/ways.ts';
import { docker, ENGINE_IMAGE, removeEngine, runEngine, SECCOMP } from './engine.ts';

type Rule = { comment: string; names: string[]; action: string };
const profile: { syscalls: Rule[] } = JSON.parse(readFileSync(SECCOMP, 'utf8'));

/** Arguments of Perl's `syscall` that change nothing: bad addresses, numbers and descriptors. */
const CALLS: [keyof typeof numbers, string][] = [
  ['add_key', '0, 0, 0, 0, 0'],
  ['bpf', '9999, 0, 0'],
  ['chroot', '0'],
  ['fsopen', '0, 0'],
  ['init_module', '0, 0, 0'],
  ['io_uring_setup', '0, 0'],
  ['kexec_load', '0, 0, 0, 0x7fff0000'],
  ['keyctl', '0, -3, 1'],
  ['mount_setattr', '-1, 0, 0, 0, 0'],
  ['move_mount', '-1, 0, -1, 0, 0'],
  ['open_by_handle_at', '-1, 0, 0'],
  ['open_tree', '-1, 0, 0'],
  ['perf_event_open', '0, 0, -1, -1, 0'],
  ['process_vm_readv', '$$ + 0, 0, 0, 0, 0, 0'],
  ['ptrace', '0, 0, 0, 0'],
  ['reboot', '0, 0, 0, 0'],
  ['setns', '-1, 0'],
  ['settimeofday', '0, 0'],
  ['swapon', '0, 0'],
  ['syslog', '9999, 0, 0'],
  ['userfaultfd', '0x7fff0000'],
];
/** What each of the calls takes, where it takes one. */
const CAPABILITIES = [
  'SYS_ADMIN',
  'SYS_PTRACE',
  'SYS_MODULE',
  'SYS_BOOT',
  'SYS_TIME',
  'SYSLOG',
  'DAC_READ_SEARCH',
];
/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const NEW_NAMESPACES = 0x7e020000;
const SOCKET = process.arch === 'arm64' ? 198 : 41;
/** AF_PACKET, AF_ALG, AF_VSOCK, and AF_INET to compare. */
const FAMILIES = [17, 38, 40, 2];

/** Which of the calls are refused with EPERM, by name; sockets by number. */
function refused(seccomp: string): string[] {
  const tries = CALLS.map(([name, args]) => `attempt("${name}", ${numbers[name]}, ${args});`);
  const sockets = FAMILIES.map((family) => `attempt("socket ${family}", ${SOCKET}, ${family}, 3, 0);`);
  const program = `sub attempt { my ($name, @given) = @_; my $r = syscall(shift @given, @given); print "$name: ", $r < 0 && $! == 1 ? "refused" : "made", "\\n" } ${tries.join(' ')} ${sockets.join(' ')}`;
  const capabilities = CAPABILITIES.flatMap((one) => ['--cap-add', one]);
  const confined = ['--security-opt', `seccomp=${seccomp}`, '--network', 'none'];
  const said = docker([
    ...['run', '--rm', '--user', '0:0', ...capabilities, ...confined],
    ...['--entrypoint', 'perl', ENGINE_IMAGE, '-e', program],
  ]).split('\n');
  expect(said.length).toBe(CALLS.length + FAMILIES.length);
  return said.filter((line) => line.endsWith(': refused')).map((line) => line.replace(': refused', ''));
}

describe('the seccomp profile', () => {
  it('refuses what neither the Engine nor its sandbox needs, whoever asks', () => {
    const all = [...CALLS.map(([name]) => name), 'socket 17', 'socket 38', 'socket 40'];
    expect(refused(SECCOMP)).toEqual(all);
  });

  it('is what refuses it', () => {
    expect(refused('unconfined')).toEqual([]);
  });

  describe('opens for bubblewrap only what it cannot do without', () => {
    const NAME = 'images-seccomp';
    let folder: string;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'images-seccomp-'));
    });
    afterAll(async () => {
      removeEngine(NAME);
      await rm(folder, { recursive: true });
    });
    const opened = profile.syscalls
      .filter(({ comment }) => comment.startsWith('bubblewrap'))
      .flatMap(({ names }) => names);

    it.each(opened)('%s', async (name) => {
      const rules = profile.syscalls.map((rule) => ({
        ...rule,
        names: rule.names.filter((one) => one !== name),
      }));
      const file = join(folder, `${name}.json`);
      // A process of several threads has to be able to begin; its flags are what the addition is about.
      const threads = {
        names: ['clone'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: NEW_NAMESPACES, op: 'SCMP_CMP_MASKED_EQ' }],
      };
      const syscalls = [
        ...rules.filter(({ names }) => names.length > 0),
        ...(name === 'clone' ? [threads] : []),
      ];
      writeFileSync(file, JSON.stringify({ ...profile, syscalls }));
      const engine = await runEngine(NAME, { args: ['--security-opt', `seccomp=${file}`] });
      expect(await engine.health()).toMatchObject({
        status: 'ok',
        sandbox: { mode: 'refused', layers: { bubblewrap: { state: 'missing' } } },
      });
    });
  });
});
