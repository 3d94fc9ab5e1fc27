/**
 * The list of system calls that no command makes, as a filter program for the kernel.
 *
 * Namespaces make a small world, but everything in it talks to the one kernel of the host, and some of its calls have
 * nothing to do in there: they leave the world (mounts, namespaces), look into other processes, or are doors where
 * flaws are found again and again. The filter refuses those by number. It is a list of what is refused, because a list
 * of what is allowed breaks a program with every new version of its libraries; calls younger than this list are told
 * that they do not exist, which is what programs expect of an older kernel. bubblewrap loads it (`--seccomp`).
 * Source: engine-runtime, "Sandbox".
 */

/** Numbers on both machines, null where the call does not exist. From the kernel's `unistd` headers. */
type Calls = Record<string, readonly [x86_64: number | null, aarch64: number | null]>;

const REFUSED: { reason: string; calls: Calls }[] = [
  {
    reason: 'change what is visible: mounts and the root',
    calls: {
      mount: [165, 40],
      umount2: [166, 39],
      pivot_root: [155, 41],
      chroot: [161, 51],
      open_tree: [428, 428],
      move_mount: [429, 429],
      fsopen: [430, 430],
      fsconfig: [431, 431],
      fsmount: [432, 432],
      fspick: [433, 433],
      mount_setattr: [442, 442],
      open_tree_attr: [467, 467],
    },
  },
  {
    reason:
      'new namespaces: in one of its own a process has every capability, and most flaws of the kernel begin there',
    calls: { unshare: [272, 97], setns: [308, 268] },
  },
  {
    reason: 'look into other processes, or take their files',
    calls: {
      ptrace: [101, 117],
      process_vm_readv: [310, 270],
      process_vm_writev: [311, 271],
      process_madvise: [440, 440],
      kcmp: [312, 272],
      pidfd_getfd: [438, 438],
    },
  },
  {
    reason: 'open a file by a number instead of by a way that leads to it',
    calls: { open_by_handle_at: [304, 265] },
  },
  {
    reason: 'doors of the kernel with a long record of flaws, which commands do not need',
    calls: {
      bpf: [321, 280],
      perf_event_open: [298, 241],
      userfaultfd: [323, 282],
      io_uring_setup: [425, 425],
      io_uring_enter: [426, 426],
      io_uring_register: [427, 427],
      fanotify_init: [300, 262],
      memfd_secret: [447, 447],
      modify_ldt: [154, null],
      uselib: [134, null],
    },
  },
  {
    reason: 'the keys that the kernel keeps are not in any namespace',
    calls: { add_key: [248, 217], request_key: [249, 218], keyctl: [250, 219] },
  },
  {
    reason: 'the machine itself: kernel, modules, clock, swap, accounting, ports, log',
    calls: {
      kexec_load: [246, 104],
      kexec_file_load: [320, 294],
      create_module: [174, null],
      init_module: [175, 105],
      finit_module: [313, 273],
      delete_module: [176, 106],
      reboot: [169, 142],
      swapon: [167, 224],
      swapoff: [168, 225],
      acct: [163, 89],
      quotactl: [179, 60],
      quotactl_fd: [443, 443],
      settimeofday: [164, 170],
      clock_settime: [227, 112],
      clock_adjtime: [305, 266],
      adjtimex: [159, 171],
      iopl: [172, null],
      ioperm: [173, null],
      syslog: [103, 116],
      vhangup: [153, 58],
      sethostname: [170, 161],
      setdomainname: [171, 162],
    },
  },
];

/** Its flags lie in memory, where a filter cannot look; told that there is none, libraries fall back to `clone`. */
const CLONE3 = 435;

/** `file_setattr`, the youngest call that was looked at for this list. */
const YOUNGEST = 469;

/** CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const NEW_NAMESPACE =
  0x80 | 0x20000 | 0x2000000 | 0x4000000 | 0x8000000 | 0x10000000 | 0x20000000 | 0x40000000;

/** They type into the terminal as if a person did. */
const TERMINAL_INPUT = { TIOCSTI: 0x5412, TIOCLINUX: 0x541c };

/** All others leave the network namespace or are rare doors; `AF_VSOCK` reaches the host of a virtual machine. */
const SOCKETS = { AF_UNIX: 1, AF_INET: 2, AF_INET6: 10, AF_NETLINK: 16 };

const MACHINES = {
  x64: { audit_arch: 0xc000003e, column: 0, clone: 56, ioctl: 16, socket: 41 },
  arm64: { audit_arch: 0xc00000b7, column: 1, clone: 220, ioctl: 29, socket: 198 },
} as const;

/** Where `struct seccomp_data` has what; of an argument, the lower half. Both machines are little-endian. */
const NUMBER = 0;
const ARCH = 4;
const argument = (index: number) => 16 + 8 * index;

type Instruction = readonly [code: number, jump_true: number, jump_false: number, value: number];
const load = (offset: number): Instruction => [0x20, 0, 0, offset];
/** Jumps count instructions that are left out. */
const ifEqual = (value: number, yes: number, no: number): Instruction => [0x15, yes, no, value];
const ifAtLeast = (value: number, yes: number, no: number): Instruction => [0x35, yes, no, value];
const ifAnyBit = (bits: number, yes: number, no: number): Instruction => [0x45, yes, no, bits];
const answer = (action: number): Instruction => [0x06, 0, 0, action];

const ALLOW = 0x7fff0000;
const KILL_PROCESS = 0x80000000;
const fail = (errno: number) => 0x00050000 | errno;
const EPERM = 1;
const ENOSYS = 38;
const EAFNOSUPPORT = 97;

/** The filter as bubblewrap wants it: `struct sock_filter`s, one behind the other. Undefined for other machines. */
export function seccompFilter(arch: string): Buffer | undefined {
  const machine = arch === 'x64' || arch === 'arm64' ? MACHINES[arch] : undefined;
  if (machine === undefined) return undefined;
  const refused = REFUSED.flatMap(({ calls }) => Object.values(calls))
    .map((numbers) => numbers[machine.column])
    .filter((number) => number !== null);
  const { clone, ioctl, socket } = machine;
  return assembled([
    // The numbers below mean something else to a program of another machine, a 32-bit one for example.
    load(ARCH),
    ifEqual(machine.audit_arch, 1, 0),
    answer(KILL_PROCESS),
    load(NUMBER),
    // Also those of x32, which have a high bit set.
    ifAtLeast(YOUNGEST + 1, 0, 1),
    answer(fail(ENOSYS)),
    ifEqual(CLONE3, 0, 1),
    answer(fail(ENOSYS)),
    ...refused.flatMap((number) => [ifEqual(number, 0, 1), answer(fail(EPERM))]),
    ...whenCalled(clone, 0, [ifAnyBit(NEW_NAMESPACE, 0, 1), answer(fail(EPERM)), answer(ALLOW)]),
    ...whenCalled(ioctl, 1, [
      ...Object.values(TERMINAL_INPUT).flatMap((request) => [ifEqual(request, 0, 1), answer(fail(EPERM))]),
      answer(ALLOW),
    ]),
    ...whenCalled(socket, 0, [
      ...Object.values(SOCKETS).flatMap((family) => [ifEqual(family, 0, 1), answer(ALLOW)]),
      answer(fail(EAFNOSUPPORT)),
    ]),
    answer(ALLOW),
  ]);
}

/** `then` looks at an argument of the call, and has to answer. */
function whenCalled(number: number, index: number, then: Instruction[]): Instruction[] {
  return [ifEqual(number, 0, then.length + 1), load(argument(index)), ...then];
}

function assembled(program: Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, [code, jump_true, jump_false, value]] of program.entries()) {
    const at = index * 8;
    bytes.writeUInt16LE(code, at);
    bytes.writeUInt8(jump_true, at + 2);
    bytes.writeUInt8(jump_false, at + 3);
    bytes.writeUInt32LE(value >>> 0, at + 4);
  }
  return bytes;
}
