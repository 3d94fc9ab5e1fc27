/**
 * What a command may see and use, as data, and the two forms in which it is told: arguments for bubblewrap, which makes
 * the small world, and file rules for what holds a second time inside (`launch.pl`). Both come from one list of places,
 * so that they cannot differ. Source: engine-runtime, "Sandbox".
 */

/** Places are made in the order of the list. `at`: the path inside. */
export type Place =
  | { kind: 'read' | 'write'; from: string; at: string }
  /** A folder in memory that is empty at first, at most so many bytes. */
  | { kind: 'memory'; at: string; bytes: number }
  /** An empty folder instead of what is there; what lies in it is placed afterwards, then it is sealed. */
  | { kind: 'cover'; at: string }
  | { kind: 'seal'; at: string }
  | { kind: 'link'; target: string; at: string };

export type Policy = {
  places: Place[];
  /** A process file system of its own, or none: within some containers there can be no new one. */
  proc: 'own' | 'none';
  cwd: string;
};

/** Within the sandbox a command is an ordinary user, whoever the Engine runs as; its files are still its own. */
const USER_ID = '1000';

/** For what programs share in memory; unlimited it would be a way round the limit of memory. Bytes. */
const SHARED_MEMORY_BYTES = 64 * 1024 * 1024;

/** @param seccomp The descriptor on which bubblewrap finds the filter; undefined: none. */
export function bubblewrapArguments(policy: Policy, seccomp?: number): string[] {
  return [
    ...['--unshare-all', '--unshare-user', '--die-with-parent', '--new-session', '--as-pid-1'],
    ...['--cap-drop', 'ALL', '--uid', USER_ID, '--gid', USER_ID, '--hostname', 'sandbox'],
    // Sealed: to a sandbox of the real root the kernel's settings in it would be open for writing.
    ...(policy.proc === 'own' ? ['--proc', '/proc'] : ['--tmpfs', '/proc']),
    ...['--remount-ro', '/proc'],
    ...[
      '--dev',
      '/dev',
      '--size',
      String(SHARED_MEMORY_BYTES),
      '--tmpfs',
      '/dev/shm',
      '--remount-ro',
      '/dev',
    ],
    ...policy.places.flatMap(placing),
    ...['--remount-ro', '/', '--chdir', policy.cwd],
    ...(seccomp === undefined ? [] : ['--seccomp', String(seccomp)]),
    '--',
  ];
}

function placing(place: Place): string[] {
  switch (place.kind) {
    case 'read':
      return ['--ro-bind', place.from, place.at];
    case 'write':
      return ['--bind', place.from, place.at];
    case 'memory':
      return ['--size', String(place.bytes), '--tmpfs', place.at];
    case 'cover':
      return ['--tmpfs', place.at];
    case 'seal':
      return ['--remount-ro', place.at];
    case 'link':
      return ['--symlink', place.target, place.at];
  }
}

/** As arguments of `launch.pl`. */
export function fileRules(policy: Policy): string[] {
  return [
    ...['device=/dev', 'write=/dev/shm', 'read=/proc'],
    ...policy.places.flatMap((place) => {
      if (place.kind === 'read' || place.kind === 'cover') return [`read=${place.at}`];
      if (place.kind === 'write' || place.kind === 'memory') return [`write=${place.at}`];
      return [];
    }),
  ];
}
