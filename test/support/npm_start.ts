import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

const root = join(import.meta.dirname, '../..');

/** What a person does at a terminal: runs `npm start`, reads what it prints, presses Ctrl-C, pulls the plug. */
export type NpmStart = {
  /** Everything printed so far, both streams. */
  output(): string;
  /** Resolves once the text has been printed; rejects with the output when the process ends before. */
  printed(text: string): Promise<void>;
  /** As a terminal does it: SIGINT to the whole foreground process group. */
  ctrlC(): void;
  /** `kill -9` of the whole foreground process group: npm, its wrapper and the orchestrator. */
  kill9(): void;
  /** `kill -9` of npm alone. */
  kill9Npm(): void;
  /** Exit code of npm; null when it was killed. */
  exited: Promise<number | null>;
};

export function npmStart(env: Record<string, string>): NpmStart {
  const child: ChildProcess = spawn('npm', ['start'], {
    cwd: root,
    env: { ...process.env, NODE_ENV: 'development', ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  const changed = new EventTarget();
  const take = (chunk: Buffer) => {
    output += chunk.toString();
    changed.dispatchEvent(new Event('output'));
  };
  child.stdout?.on('data', take);
  child.stderr?.on('data', take);
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const group = (signal: NodeJS.Signals) => {
    if (child.pid === undefined) throw new Error('npm was not started');
    process.kill(-child.pid, signal);
  };
  return {
    output: () => output,
    exited,
    printed: (text) =>
      new Promise((resolve, reject) => {
        const look = () => output.includes(text) && resolve();
        changed.addEventListener('output', look);
        exited.then(() => reject(new Error(`npm start ended without printing "${text}":\n${output}`)));
        look();
      }),
    ctrlC: () => group('SIGINT'),
    kill9: () => group('SIGKILL'),
    kill9Npm: () => child.kill('SIGKILL'),
  };
}
