/**
 * What the code of a backend holds of this process: timers, watchers, sockets, children. A forgotten timer
 * of an orchestrator that is only closed, not ended, shows nowhere else; those that do not keep the process
 * alive are not even among the process's active resources, so each is followed from its making.
 */
import { createHook } from 'node:async_hooks';

/** Kinds that stay until somebody lets go of them; the others end by themselves. */
const KINDS = new Set([
  'Timeout',
  'PROCESSWRAP',
  'PIPEWRAP',
  'TCPWRAP',
  'TCPSERVERWRAP',
  'FSEVENTWRAP',
  'STATWATCHER',
  'SIGNALWRAP',
]);
const BACKENDS = '/src/backends/';

/** Follows what is made from now on with code of the backends on the stack. */
export function watchHeld() {
  const held = new Map<number, string>();
  let seen = 0;
  const hook = createHook({
    init(id, kind) {
      if (!KINDS.has(kind)) return;
      const frame = new Error().stack?.split('\n').find((line) => line.includes(BACKENDS));
      if (frame === undefined) return;
      held.set(id, `${kind} ${frame.trim()}`);
      seen += 1;
    },
    destroy(id) {
      held.delete(id);
    },
    // To be told of each promise would make the backends several times slower.
    trackPromises: false,
  }).enable();
  return {
    now: () => [...held.values()],
    /** How many there were: a watch that sees nothing proves nothing. */
    seen: () => seen,
    stop: () => void hook.disable(),
  };
}
