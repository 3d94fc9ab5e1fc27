/**
 * How much a command may take. The kernel holds each process to some of it at once (`rlimits`, set by `launch.pl`); what
 * all of a sandbox take together it cannot be told without rights that an Engine seldom has, and to the real root it
 * does not apply the number of processes at all. That is the watchdog's.
 * Source: engine-runtime, "Sandbox"; operations, "Security".
 */
export type Limits = {
  /** Seconds of processor time of one process. */
  cpu_s: number;
  /** Of one file, bytes. */
  file_bytes: number;
  open_files: number;
  /** Of all processes of a sandbox. */
  threads: number;
  /** Of one process's own memory, and of all of a sandbox together, bytes. */
  memory_bytes: number;
  /** Left free by whatever a sandbox does: of the machine's memory, and of each disk it can write, bytes. */
  free_memory_bytes: number;
  free_disk_bytes: number;
};

const MiB = 1024 * 1024;

export const LIMITS: Limits = {
  // As long as a turn may take by default, and what a turn leaves running ends with it.
  cpu_s: 1_800,
  // Above what builds and archives need, and far below what disks have.
  file_bytes: 2_048 * MiB,
  // Package managers and file watchers open thousands.
  open_files: 4_096,
  // A parallel build of a large project takes a few hundred.
  threads: 1_024,
  // A large compiler run, or a data set in memory.
  memory_bytes: 4_096 * MiB,
  // So that the kernel does not have to choose whom to kill: it may choose the Engine.
  free_memory_bytes: 256 * MiB,
  // So that the brain can go on writing.
  free_disk_bytes: 512 * MiB,
};

/** What an Engine and the commands of other tasks need beside one sandbox. */
const OTHERS_THREADS = 128;

/**
 * `limits` where no more than `threads` processes and threads may run in all, as within a container: a bomb in one
 * sandbox must not take what the Engine needs to start the next. Of very few it gets half.
 */
export function limitsWithin(limits: Limits, threads: number): Limits {
  const most = Math.max(threads - OTHERS_THREADS, Math.floor(threads / 2));
  return { ...limits, threads: Math.min(limits.threads, most) };
}

/** Numbers of the limits, the same on all machines we run on. */
const RLIMIT = { CPU: 0, FSIZE: 1, DATA: 2, CORE: 4, NPROC: 6, NOFILE: 7 };

/**
 * As arguments of `launch.pl`. `threads_counted`: whether the kernel counts those of a user namespace by themselves (5.14);
 * older ones count all that the user runs on this machine, so that nothing might start.
 */
export function processLimits(limits: Limits, threads_counted: boolean): string[] {
  const values: [number, number][] = [
    [RLIMIT.CPU, limits.cpu_s],
    [RLIMIT.FSIZE, limits.file_bytes],
    [RLIMIT.DATA, limits.memory_bytes],
    [RLIMIT.CORE, 0],
    [RLIMIT.NOFILE, limits.open_files],
    ...(threads_counted ? [[RLIMIT.NPROC, limits.threads] satisfies [number, number]] : []),
  ];
  return values.map(([number, value]) => `limit=${number}:${value}`);
}
