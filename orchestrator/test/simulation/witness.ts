/**
 * Who sees everything: what really happened to each engine, whatever the orchestrators believe. The oracle
 * compares their registry, their answers and their acts with this.
 */
import type { Trace } from './trace.ts';

/** The rules of the oracle, see docs/reliability.md. */
export type Rule =
  | 'one process'
  | 'fence'
  | 'brain'
  | 'admission'
  | 'turns'
  | 'unknown is not dead'
  | 'deadlines'
  | 'freedom'
  | 'one outcome'
  | 'quota'
  | 'epochs'
  | 'single flight'
  | 'idle'
  | 'restarts'
  | 'upgrades'
  | 'settling'
  | 'faults of ours';

export type Violation = { rule: Rule; engine_id: string | null; at_ms: number; what: string };

/** How long after an answer to a wish the wish still explains what happens, milliseconds: two deadlines. */
const WISH_LASTS_MS = 200_000;
/** As many bad answers in a row as make an engine ill. */
export const ILL_PROBES = 3;

/** `epoch`: the one it was started for. */
type Life = { epoch: number; from: number; to: number | null };
type Wish = { kind: 'stop' | 'sleep' | 'destroy'; from: number; to: number | null };
type Story = {
  born: number;
  /** Its processes, one after the other. */
  lives: Life[];
  bad_answers: number;
  /** When an engine had last given, or failed to give, enough bad answers to be held for ill. */
  ill_at: number | null;
  /** When an admit was asked for that was granted, the latest. */
  admit_asked_at: number | null;
  /** When an admit was granted, the latest. */
  admitted_at: number;
};

export type Witness = ReturnType<typeof createWitness>;

export function createWitness(now: () => number, trace: Trace) {
  const stories = new Map<string, Story>();
  const wishes = new Map<string, Wish[]>();
  const violations: Violation[] = [];

  const storyOf = (engine_id: string): Story => {
    let story = stories.get(engine_id);
    if (story === undefined) {
      story = { born: now(), lives: [], bad_answers: 0, ill_at: null, admit_asked_at: null, admitted_at: 0 };
      stories.set(engine_id, story);
    }
    return story;
  };

  function wished(engine_id: string, kinds: readonly Wish['kind'][], lasts_ms: number): boolean {
    const { born } = storyOf(engine_id);
    return (wishes.get(trace.userOf(engine_id)) ?? []).some(
      ({ kind, to }) => kinds.includes(kind) && (to === null || (to >= born && to >= now() - lasts_ms)),
    );
  }

  /** Its process at that moment, unless one of the same epoch had ended before: a call delivered twice did that. */
  function lifeAt(engine_id: string, at: number): Life | null {
    const { lives } = storyOf(engine_id);
    const life = lives.find(({ from, to }) => from <= at && (to === null || to > at));
    if (life === undefined) return null;
    const again = lives.some((one) => one !== life && one.epoch === life.epoch && one.from < life.from);
    return again ? null : life;
  }

  return {
    violations,
    violation(rule: Rule, engine_id: string | null, what: string) {
      trace.note(engine_id, `VIOLATION of "${rule}": ${what}`);
      violations.push({ rule, engine_id, at_ms: now(), what });
    },

    /** A process of it begins, or has ended. */
    began: (engine_id: string, epoch: number) =>
      void storyOf(engine_id).lives.push({ epoch, from: now(), to: null }),
    ended(engine_id: string) {
      const life = storyOf(engine_id).lives.find(({ to }) => to === null);
      if (life !== undefined) life.to = now();
    },
    lifeAt,
    /** When its last process ended; null where one lives. */
    deadSince(engine_id: string): number | null {
      const { lives, born } = storyOf(engine_id);
      if (lives.some(({ to }) => to === null)) return null;
      return Math.max(born, ...lives.map(({ to }) => to ?? 0));
    },

    /** Somebody asked it how it is. */
    answered(engine_id: string, well: boolean) {
      const story = storyOf(engine_id);
      story.bad_answers = well ? 0 : story.bad_answers + 1;
      if (story.bad_answers >= ILL_PROBES) story.ill_at = now();
    },
    /** Whether, within the last `within_ms` before `at`, it could be held for ill. */
    seemedIll(engine_id: string, at: number, within_ms: number): boolean {
      const { ill_at } = storyOf(engine_id);
      return ill_at !== null && ill_at >= at - within_ms;
    },

    /** A client asks for this; call the result when it has been answered. */
    wish(user: string, kind: Wish['kind']): () => void {
      const wish: Wish = { kind, from: now(), to: null };
      wishes.set(user, [...(wishes.get(user) ?? []), wish]);
      return () => {
        wish.to = now();
      };
    },
    wishedToEnd: (engine_id: string) => wished(engine_id, ['stop', 'destroy'], WISH_LASTS_MS),
    wishedToSleep: (engine_id: string) => wished(engine_id, ['sleep'], WISH_LASTS_MS),
    wishedDestroyed: (engine_id: string) => wished(engine_id, ['destroy'], Infinity),

    admitted(engine_id: string, asked_at: number) {
      const story = storyOf(engine_id);
      story.admitted_at = now();
      story.admit_asked_at = Math.max(asked_at, story.admit_asked_at ?? 0);
    },
    admittedAt: (engine_id: string) => storyOf(engine_id).admitted_at,
    admitAskedAt: (engine_id: string) => storyOf(engine_id).admit_asked_at,
  };
}
