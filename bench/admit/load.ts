/** The load generator: asks one HTTP server for engines of the fleet, picked at random. */
import { randomInt } from 'node:crypto';
import { answerParent } from '../support/child.ts';
import { openConnection } from '../support/http_client.ts';
import { type Load, measure } from '../support/measure.ts';

export type HttpTarget = {
  url: string;
  /** The bytes of a request up to the engine's name, and after it. */
  before: string;
  after: string;
  /** How the body of a right answer begins. */
  expected: string;
};

answerParent(async ({ target, load, names }: { target: HttpTarget; load: Load; names: string[] }) => {
  const connections = await Promise.all(
    Array.from({ length: load.concurrency }, () => openConnection(new URL(target.url))),
  );
  const measured = await measure(load, async (caller) => {
    const name = names[randomInt(names.length)];
    const body = await connections[caller]?.ask(`${target.before}${name}${target.after}`);
    if (!body?.startsWith(target.expected)) throw new Error(`a wrong answer: ${body}`);
  });
  for (const connection of connections) connection.close();
  return measured;
});
