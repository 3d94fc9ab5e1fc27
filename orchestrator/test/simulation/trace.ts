/** What happened in a run, in order: shown when a rule was broken, and hashed to show that a run repeats. */
import { createHash } from 'node:crypto';

export type Trace = {
  /** `engine_id`: whose engine it was about; null: nobody's in particular. */
  note(engine_id: string | null, what: string): void;
  /** Whose engine it is, for people. */
  name(engine_id: string, user: string): void;
  userOf(engine_id: string): string;
  /** Lines about `user` and about nobody in particular, the last `limit`; null: all of them. */
  lines(user: string | null, limit?: number): string[];
  hash(): string;
};

export function createTrace(now: () => number): Trace {
  const all: { at: number; engine_id: string | null; what: string }[] = [];
  const names = new Map<string, string>();
  const userOf = (engine_id: string) => names.get(engine_id) ?? engine_id;
  const line = ({ at, engine_id, what }: (typeof all)[number]) =>
    `${(at / 1000).toFixed(2).padStart(9)}  ${engine_id === null ? '' : `${userOf(engine_id)}: `}${what}`;
  return {
    note: (engine_id, what) => void all.push({ at: now(), engine_id, what }),
    name: (engine_id, user) => void names.set(engine_id, user),
    userOf,
    lines(user, limit = Infinity) {
      const wanted = all.filter(
        ({ engine_id }) => user === null || engine_id === null || userOf(engine_id) === user,
      );
      return wanted.slice(Math.max(0, wanted.length - limit)).map(line);
    },
    hash() {
      const hash = createHash('sha256');
      for (const one of all) hash.update(line(one)).update('\n');
      return hash.digest('hex');
    },
  };
}
