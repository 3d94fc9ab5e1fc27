/**
 * Bugs to be found: each takes one thing away that the lifecycle stands on, by changing what the real code is
 * given or what it says to the database. A simulation that does not notice is worth nothing.
 */
import type { Backend } from '../../src/backends/contract.ts';
import type { Ask } from '../../src/lifecycle/ask.ts';
import type { Db, Sql } from '../../src/registry/db.ts';

export const BUGS = {
  'skip-fence': 'the backend does what a replica asks for whose work another has taken over',
  'unknown-is-dead': 'what the backend cannot tell about is taken for gone',
  'no-deadline': 'operations have all the time in the world',
  'no-lease-check': 'a replica that lost its lease goes on writing',
  'forget-epoch': 'taking an operation up again gives it no new epoch',
  'no-second-look': 'what an engine says of its turns in flight is not looked at',
  'no-takeover': 'an operation that a dead or frozen replica left is taken up by nobody',
} as const;

export type Bug = keyof typeof BUGS;

export const isBug = (name: string): name is Bug => Object.hasOwn(BUGS, name);

export function spoilBackend(bug: Bug | null, backend: Backend): Backend {
  if (bug !== 'unknown-is-dead') return backend;
  return {
    ...backend,
    async is_running(engine_id) {
      const presence = await backend.is_running(engine_id);
      return presence.state === 'unknown' ? { state: 'absent', exit: null } : presence;
    },
  };
}

export function spoilAsk(bug: Bug | null, ask: Ask): Ask {
  if (bug !== 'no-second-look') return ask;
  return async (url, ...rest) => {
    const answer = await ask(url, ...rest);
    if (typeof answer === 'string' || !url.endsWith('/activity') || answer.status !== 200) return answer;
    return { ...answer, body: { ...(answer.body as object), in_flight_turns: 0 } };
  };
}

/** What is changed in the text of statements. A change that fits none fails: it would spoil nothing. */
const IN_SQL: Partial<Record<Bug, [string | RegExp, string]>> = {
  'no-lease-check': ['AND owner = $2 AND lease = $3', 'AND $2::int IS NOT NULL AND $3::int IS NOT NULL'],
  'forget-epoch': ['SET epoch = e.epoch + 1', 'SET epoch = greatest(e.epoch, 1)'],
  'no-takeover': [
    /owner IS NULL OR lease_until <= now\(\) OR NOT EXISTS[\s\S]*?objid = owner\)/,
    'owner IS NULL',
  ],
  'no-deadline': ['AS remaining_ms', '+ 1e9 AS remaining_ms'],
};

export function spoilDb(bug: Bug | null, db: Db): Db {
  const change = bug === null ? undefined : IN_SQL[bug];
  if (change === undefined) return db;
  const spoil = (sql: Sql): Sql => ({
    query: (text, values) => sql.query(text.replace(change[0], change[1]), values),
  });
  return { ...db, ...spoil(db), tx: (work) => db.tx((sql) => work(spoil(sql))) };
}
