/**
 * Ways out of the sandbox, as commands of a shell: each tries something that only who is outside can do, and says
 * `ESCAPED` when it got through. Some leave a trace outside instead, which the suite looks for after each of them.
 *
 * `opens_without`: the layer that alone stops it. With that layer away the attack has to get through: so the suite shows
 * that it can fail, and that no layer is there for show.
 */
export type Way = {
  name: string;
  script: string;
  opens_without?: 'bubblewrap' | 'seccomp' | 'landlock' | 'limits';
};

/** What the scripts find in variables. */
export type World = {
  ROOT: string;
  BRAIN: string;
  /** A file beside the root that holds the word `secret`. */
  OUTSIDE: string;
  CATALOG: string;
  ENGINE_PID: string;
  ENGINE_PORT: string;
  /** A port of the host that listens on all its addresses, and one of these. */
  PORT: string;
  ADDRESS: string;
  /** A datagram to it is a trace. */
  UDP_PORT: string;
  /** A socket in the file system of the host, and one that has only a name. */
  SOCKET: string;
  ABSTRACT: string;
  /** A name in places that all processes of the host share; made there by the suite, or by who has escaped. */
  CANARY: string;
};

const way = (name: string, script: string, opens_without?: Way['opens_without']): Way => ({
  name,
  script,
  ...(opens_without && { opens_without }),
});

/** Succeeded when the shell says so. */
const tries = (name: string, line: string, opens_without?: Way['opens_without']): Way =>
  way(name, `( ${line} ) 2>/dev/null 1>/dev/null && echo ESCAPED; true`, opens_without);

/** Succeeded when something of outside was read. */
const reads = (name: string, line: string, opens_without?: Way['opens_without']): Way =>
  way(name, `( ${line} ) 2>/dev/null | grep -q secret && echo ESCAPED; true`, opens_without);

const CALLS = {
  x64: {
    bpf: 321,
    add_key: 248,
    chroot: 161,
    clone: 56,
    clone3: 435,
    fsopen: 430,
    init_module: 175,
    io_uring_setup: 425,
    kexec_load: 246,
    keyctl: 250,
    mount: 165,
    mount_setattr: 442,
    move_mount: 429,
    open_by_handle_at: 304,
    open_tree: 428,
    perf_event_open: 298,
    pidfd_open: 434,
    pivot_root: 155,
    process_vm_readv: 310,
    ptrace: 101,
    reboot: 169,
    sethostname: 170,
    setns: 308,
    settimeofday: 164,
    swapon: 167,
    syslog: 103,
    umount2: 166,
    unshare: 272,
    userfaultfd: 323,
  },
  arm64: {
    bpf: 280,
    add_key: 217,
    chroot: 51,
    clone: 220,
    clone3: 435,
    fsopen: 430,
    init_module: 105,
    io_uring_setup: 425,
    kexec_load: 104,
    keyctl: 219,
    mount: 40,
    mount_setattr: 442,
    move_mount: 429,
    open_by_handle_at: 265,
    open_tree: 428,
    perf_event_open: 241,
    pidfd_open: 434,
    pivot_root: 41,
    process_vm_readv: 270,
    ptrace: 117,
    reboot: 142,
    sethostname: 161,
    setns: 268,
    settimeofday: 170,
    swapon: 224,
    syslog: 116,
    umount2: 39,
    unshare: 97,
    userfaultfd: 282,
  },
};
export const numbers = process.arch === 'arm64' ? CALLS.arm64 : CALLS.x64;

/** A system call by its number; got through when it does not fail. `prepare`: Perl before it. */
function calls(
  name: keyof typeof numbers,
  args: string,
  opens_without?: Way['opens_without'],
  prepare = '',
): Way {
  // An array, because a call may write into what it is given, and Perl lets none write into what stands in its text.
  const program = `${prepare}; my @given = (${args}); my $r = syscall(${numbers[name]}, @given); print $r < 0 ? "REFUSED $!\\n" : "ESCAPED\\n"`;
  return way(`calls ${name}(${args})`, `/usr/bin/perl -e '${program}' 2>/dev/null; true`, opens_without);
}

const perl = (program: string) => `/usr/bin/perl -e '${program}'`;
const connects = (address: string, port: string) => `exec 3<>/dev/tcp/${address}/${port}`;

const FILES: Way[] = [
  reads('reads a file by its path', 'cat "$OUTSIDE"', 'bubblewrap'),
  reads('reads a file by the way up', 'cat ../outside/file', 'bubblewrap'),
  reads('reads through a link in its folder', 'ln -sfn "$OUTSIDE" link; cat link', 'bubblewrap'),
  reads('reads through a link in /tmp', 'ln -sfn "$OUTSIDE" /tmp/link; cat /tmp/link'),
  reads('reads through a hard link', 'ln -f "$OUTSIDE" hard; cat hard', 'bubblewrap'),
  reads('reads through the root of its process', 'cat "/proc/self/root$OUTSIDE"', 'bubblewrap'),
  reads('reads through the root of process 1', 'cat "/proc/1/root$OUTSIDE"'),
  reads('reads through the folder of process 1', 'cat "/proc/1/cwd/../../..$OUTSIDE"'),
  reads('reads what other processes have open', 'cat /proc/[0-9]*/fd/[0-9]* </dev/null & sleep 0.3; kill %1'),
  reads(
    'wins a race of links',
    'mkdir -p in out; echo no > in/file; ( for i in $(seq 300); do ln -sfn "$(dirname "$OUTSIDE")" swap; ln -sfn in swap; done ) & for i in $(seq 300); do cat swap/file; done; wait',
    'bubblewrap',
  ),
  way(
    'wins a race of hard links to the brain',
    '( for i in $(seq 200); do ln -f "$BRAIN" race; rm -f race; done ) 2>/dev/null & for i in $(seq 200); do head -c 15 race; done 2>/dev/null | grep -q SQLite && echo ESCAPED; true',
  ),
  tries('reads the brain', 'head -c 15 "$BRAIN" | grep SQLite', 'bubblewrap'),
  tries('reads the journal of the brain', 'ls "$BRAIN"-*', 'bubblewrap'),
  tries('finds the brain from the root', 'find / -xdev -name "$(basename "$BRAIN")" | grep .'),
  way('writes the brain', 'echo x >> "$BRAIN"'),
  way('writes a journal beside the brain', 'echo x > "$BRAIN-journal"'),
  way('takes the lock of the brain', 'echo x >> "$BRAIN.lock"'),
  way('moves the folder of the brain away', 'mv "$(dirname "$BRAIN")" "$(dirname "$BRAIN").away"'),
  tries('sees what other tasks have in /tmp', 'ls "$BRAIN.scratch"', 'bubblewrap'),
  tries('reads the passwords of the host', 'cat /etc/shadow'),
  tries('reads the keys of the host', 'ls /etc/ssh /etc/ssl/private'),
  tries('looks into the home folders', 'ls /root /home'),
  tries(
    'reads a disk past its file system',
    'head -c 1 /dev/sda || head -c 1 /dev/vda || head -c 1 /dev/nvme0n1',
  ),
  tries('makes a disk and reads it', 'rm -f disk; mknod disk b 8 0 && head -c 1 disk'),
  tries(
    'reads the memory of the machine',
    'head -c 1 /dev/mem || head -c 1 /dev/kmem || head -c 1 /proc/kcore',
  ),
  tries('sees the folders of the kernel', 'ls /sys/kernel || ls /sys/fs/cgroup'),
  tries('writes a program of the host', 'touch /usr/bin/canary || cp /bin/true /usr/local/bin/canary'),
  tries('writes the users of the host', ': >> /etc/passwd'),
  tries('writes the Engine’s part of the walls', ': >> /run/sandbox/launch.pl'),
  tries('writes the Engine’s Node.js', ': >> /run/sandbox/bin/node'),
  tries('writes the catalog', 'touch "$CATALOG/hooks.json"', 'bubblewrap'),
  way('leaves a file in /tmp of the host', 'echo x > "/tmp/$CANARY"', 'bubblewrap'),
  tries('reads the shared memory of the host', 'cat "/dev/shm/$CANARY"', 'bubblewrap'),
  tries('writes settings of the kernel', ': >> /proc/sys/kernel/core_pattern'),
  tries('writes what the kernel starts', ': >> /proc/sys/kernel/modprobe'),
  tries('presses the key of the kernel', ': >> /proc/sysrq-trigger'),
  tries(
    'becomes root by a program with its bit',
    'cp /bin/bash s; chmod u+s s; [ "$(./s -p -c "id -u")" = 0 ]',
  ),
  tries('becomes root by su', 'su root -c true </dev/null || sudo -n true'),
  tries('takes capabilities', 'grep "^Cap[A-Z][a-z]*:.*[1-9a-f]" /proc/self/status'),
  tries('lists the root', 'ls /', 'landlock'),
  tries('lists what has no rule', 'ls /run', 'landlock'),
];

const PROCESSES: Way[] = [
  tries('sees the Engine', 'grep -qE "main[.](ts|mjs)" "/proc/$ENGINE_PID/cmdline"', 'bubblewrap'),
  tries('reads the environment of the Engine', 'grep -q test-key "/proc/$ENGINE_PID/environ"', 'bubblewrap'),
  tries('has a secret in its environment', 'env | grep -E "ENGINE_API_KEY|test-key"'),
  tries('finds a secret in the environment of process 1', 'grep -qa test-key /proc/1/environ'),
  tries('has a descriptor of the Engine', '[ -e /proc/$$/fd/3 ] || [ -e /proc/$$/fd/4 ]'),
  way('kills the Engine', 'kill -9 "$ENGINE_PID"; kill -9 "-$ENGINE_PID"; kill -9 -1'),
  way('kills process 1', 'kill -9 1; kill -15 1; kill -11 1'),
  way('kills everything it can see', perl('kill "KILL", -1')),
  tries('runs before others', 'nice -n -5 true 2>&1 | grep -q . && exit 1; [ "$(nice -n -5 nice)" -lt 0 ]'),
  way('leaves a session of its own running', 'setsid sleep 61.5 & true'),
  way(
    'leaves a daemon running',
    perl('exit if fork; use POSIX (); POSIX::setsid(); exit if fork; exec "sleep", "61.5"'),
  ),
  way(
    'leaves something running that minds no signal',
    '( trap "" HUP INT TERM QUIT; sleep 61.5; sleep 61.5 ) & disown',
  ),
  calls('ptrace', '0, 0, 0, 0', 'seccomp'),
  calls('ptrace', '16, $ENV{ENGINE_PID} + 0, 0, 0'),
  calls(
    'process_vm_readv',
    '$$ + 0, pack("QQ", $a, 1), 1, pack("QQ", $a, 1), 1, 0',
    'seccomp',
    'my $b = "x" x 8; my $a = unpack("Q", pack("P", $b))',
  ),
  calls('pidfd_open', '$ENV{ENGINE_PID} + 0, 0'),
];

const NAMESPACES: Way[] = [
  tries('makes a user namespace', 'unshare -U true', 'seccomp'),
  tries('makes mounts in a user namespace', 'unshare -Urm sh -c "mount -t tmpfs x /tmp"'),
  tries('enters the namespaces of process 1', 'nsenter -t 1 -m -U true'),
  calls('unshare', '0x10000000', 'seccomp'),
  calls('unshare', '0x40000000'),
  calls('clone', '0x10000000 | 17, 0, 0, 0, 0', 'seccomp'),
  calls('clone3', 'pack("Q8", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64'),
  // Where there is no /proc, the call is tried with something else.
  calls('setns', '3, 0', undefined, 'open(F, "<", "/proc/1/ns/mnt") or open(F, "<", "/dev/null") or exit 1'),
  calls('chroot', '"/"'),
  calls('mount', '"x", "/tmp", "tmpfs", 0, 0'),
  calls('mount', '"/usr", "/usr", 0, 0x1020, 0'),
  calls('umount2', '"/tmp", 2'),
  calls('umount2', '"/proc", 2'),
  calls('pivot_root', '".", "."'),
  calls('open_tree', '-100, "/tmp", 1'),
  calls('move_mount', '-100, "/usr", -100, "/tmp", 0'),
  calls('fsopen', '"tmpfs", 0'),
  calls('mount_setattr', '-100, "/usr", 0, pack("Q4", 0, 1, 0, 0), 32'),
];

const KERNEL: Way[] = [
  calls('open_by_handle_at', '-100, pack("LLa8", 8, 1, "\\0" x 8), 0'),
  calls('bpf', '5, pack("x128"), 128'),
  calls('perf_event_open', 'pack("LLQx112", 1, 128, 0), 0, -1, -1, 0'),
  calls('userfaultfd', '1'),
  calls('io_uring_setup', '1, pack("x120")'),
  calls('keyctl', '0, -3, 1', 'seccomp'),
  calls('add_key', '"user", "k", "v", 1, -2'),
  calls('kexec_load', '0, 0, 0, 0'),
  calls('init_module', '"", 0, ""'),
  calls('reboot', '0xfee1dead, 672274793, 0, 0'),
  calls('settimeofday', 'pack("qq", time, 0), 0'),
  calls('sethostname', '"host", 4'),
  calls('swapon', '"/tmp/none", 0'),
  calls('syslog', '3, " " x 100, 100'),
  ...(process.arch === 'x64'
    ? [
        // A program of 32 bits: getpid by `int 0x80`, which is another call for 64 bits, then exit with 42.
        way(
          'calls the kernel as another machine',
          [
            "printf '\\x7fELF\\x01\\x01\\x01\\0\\0\\0\\0\\0\\0\\0\\0\\0\\x02\\0\\x03\\0\\x01\\0\\0\\0\\x54\\x80\\x04\\x08\\x34\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\x34\\0\\x20\\0\\x01\\0\\0\\0\\0\\0\\0\\0'",
            "'\\x01\\0\\0\\0\\0\\0\\0\\0\\0\\x80\\x04\\x08\\0\\x80\\x04\\x08\\x60\\0\\0\\0\\x60\\0\\0\\0\\x05\\0\\0\\0\\0\\x10\\0\\0'",
            "'\\xb8\\x01\\0\\0\\0\\xbb\\x2a\\0\\0\\0\\xcd\\x80' > elf; chmod +x elf; ./elf; [ $? = 42 ] && echo ESCAPED; true",
          ].join(''),
        ),
      ]
    : []),
  tries(
    'types into a terminal',
    perl('open(T, "+<", "/dev/ptmx") or exit 1; exit(ioctl(T, 0x5412, "x") ? 0 : 1)'),
  ),
];

const NETWORK: Way[] = [
  tries('reaches the Engine', connects('127.0.0.1', '$ENGINE_PORT'), 'bubblewrap'),
  tries('reaches the host by its loopback', connects('127.0.0.1', '$PORT'), 'bubblewrap'),
  tries('reaches the host by its address', connects('$ADDRESS', '$PORT'), 'bubblewrap'),
  tries('reaches the host by its name', connects('localhost', '$PORT'), 'bubblewrap'),
  tries('reaches the addresses where clouds keep secrets', connects('169.254.169.254', '80')),
  tries('reaches the internet by address', connects('1.1.1.1', '53')),
  way('sends a datagram', 'echo x > "/dev/udp/127.0.0.1/$UDP_PORT"', 'bubblewrap'),
  tries('asks for a name', 'getent hosts example.com'),
  tries(
    'reaches a socket in the file system',
    perl('use IO::Socket::UNIX; exit(IO::Socket::UNIX->new(Peer => $ENV{SOCKET}) ? 0 : 1)'),
    'bubblewrap',
  ),
  tries(
    'reaches a socket by name',
    perl('use IO::Socket::UNIX; exit(IO::Socket::UNIX->new(Peer => "\\0$ENV{ABSTRACT}") ? 0 : 1)'),
    'bubblewrap',
  ),
  tries('reaches services of the system', 'ls /run/dbus /var/run/docker.sock /run/systemd'),
  tries('makes a socket to the host of its virtual machine', perl('exit(socket(S, 40, 1, 0) ? 0 : 1)')),
  tries('makes a socket to the ciphers of the kernel', perl('exit(socket(S, 38, 5, 0) ? 0 : 1)')),
  tries('listens to all packets', perl('exit(socket(S, 17, 3, 0x300) ? 0 : 1)')),
  tries('sends raw packets', perl('exit(socket(S, 2, 3, 1) ? 0 : 1)')),
  tries('gives itself an interface', 'ip link add veth0 type veth'),
];

const LIMITS: Way[] = [
  tries(
    'opens any number of files',
    perl('for (1 .. 5000) { open(my $f, "<", "/dev/null") or exit 1; push @f, $f } exit 0'),
    'limits',
  ),
  tries('writes a file of any size', 'truncate -s 3G big', 'limits'),
  tries('raises its own limits', 'ulimit -n 100000 || ulimit -c unlimited || ulimit -f unlimited'),
  tries('takes any memory in one process', perl('my $x = "x" x (5 << 30); exit(length $x ? 0 : 1)')),
  tries('takes memory as shared files', 'head -c 200M /dev/zero > /dev/shm/x'),
  tries('takes memory as devices', 'head -c 1M /dev/zero > /dev/x'),
  tries('takes memory as the root', 'head -c 1M /dev/zero > /x || mkdir /x'),
];

/** Within the image of the Engine: what else lies in there. */
export const IN_CONTAINER: Way[] = [
  tries('lists the secrets of the Engine', 'ls /run/september'),
  reads('reads the secrets of the Engine', 'cat /run/september/*'),
  tries('writes beside the secrets of the Engine', 'touch /run/september/mine'),
  tries('reads the program of the Engine', 'head -c 1 /opt/september/main.mjs'),
  tries('writes what the Engine has compiled', 'touch /opt/september/compiled'),
  tries(
    'sees the processes of the container',
    '[ "$(ls -d /proc/[0-9]* | wc -l)" -gt 20 ] || grep -q tini /proc/1/cmdline',
  ),
  tries('reaches the gateway of the container', connects('172.17.0.1', '22')),
  tries('makes devices of the container', 'mknod /tmp/mem c 1 1'),
];

const TAKES_300_MIB = perl('my $x = "x" x (300 << 20); sleep 5');

/** Of the memory of a container there is not much; each is to be ended for its limit. */
export const MEMORY_BOMBS: Way[] = [
  way('takes all memory in one process', perl('my $x = "x" x (3 << 30); sleep 5')),
  way('takes all memory in many processes', `for i in $(seq 8); do ${TAKES_300_MIB} & done; wait`),
];

/** What the kernel keeps of files is nobody's memory: it is to run to its end. */
export const FILES_BEYOND_MEMORY = way(
  'writes and reads more than there is memory',
  'head -c 1200M /dev/zero > large; cat large > /dev/null; sleep 0.5; rm large; echo done',
);

/** Until no more can be started; then it holds them for as long as takes others some tries to start. */
export const PROCESS_BOMB = way(
  'takes all processes from others',
  perl('while (defined(my $pid = fork)) { if ($pid == 0) { sleep 3; exit } } sleep 3'),
);

export const WAYS: Way[] = [...FILES, ...PROCESSES, ...NAMESPACES, ...KERNEL, ...NETWORK, ...LIMITS];
