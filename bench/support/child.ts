/** The parts of a benchmark run as processes of their own, as they would in earnest; this is how they talk. */
import { fork } from 'node:child_process';
import { once } from 'node:events';

export type Child = {
  /** Asks the process and gives its answer; one question at a time. */
  ask<Answer>(question: unknown): Promise<Answer>;
  end(): Promise<void>;
};

/** Starts a file of ours. Its standard output goes to the file descriptor `output`; without one it is dropped. */
export function startChild(
  file: URL,
  options: { env?: Record<string, string>; output?: number } = {},
): Child {
  const child = fork(file, {
    env: { PATH: process.env.PATH, ...options.env },
    execArgv: [],
    stdio: ['ignore', options.output ?? 'ignore', 'inherit', 'ipc'],
    serialization: 'advanced',
  });
  const exited = once(child, 'exit');
  return {
    async ask(question) {
      child.send(question as object);
      const [answer] = await Promise.race([
        once(child, 'message'),
        exited.then(() => {
          throw new Error(`${file.pathname.split('/').at(-1)} ended`);
        }),
      ]);
      return answer;
    },
    async end() {
      child.disconnect();
      await exited;
    },
  };
}

/** In the process: answers each question with what `work` gives. */
export function answerParent<Question>(work: (question: Question) => Promise<unknown>): void {
  process.on('message', async (question: Question) => {
    process.send?.((await work(question)) ?? null);
  });
  process.on('disconnect', () => process.exit());
}
