/**
 * The rotation of the master key: whatever is sealed with an older key of `ORCH_MASTER_KEY` is sealed anew with the
 * first (O27). Then the older ones can be taken out of the list.
 *
 * One transaction over all engines would hold every engine's row until its end, and with it each admit, probe and
 * operation. So it goes in small batches, each a transaction of its own: who works on an engine meanwhile waits for a
 * few milliseconds, or is waited for. What is done is seen from the tokens themselves, so it can be interrupted
 * anywhere, run again, and run while orchestrators seal new keys. But before the first change all that is sealed is
 * looked at: where a key is missing from the list, nothing is changed at all.
 *
 * The order is the operator's part: first every orchestrator gets the new list, new key first; then this; then the
 * old key goes. An orchestrator that still knows only the old one could not open what is sealed here.
 */
import { FernetError } from '../keys/fernet.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Db, Sql } from './db.ts';

/** Rows of one transaction: some 20 ms of work. */
const BATCH = 500;
/** Most ids that a refusal names. */
const MAX_NAMED = 100;

/** Some things are sealed with a key that is not in the list. Nothing has been changed. */
export class MissingMasterKey extends Error {
  override name = 'MissingMasterKey';
  /** How many engines cannot be opened, and the ids of the first 100. */
  readonly engines: number;
  readonly engine_ids: string[];
  /** How many sealed answers of repeated requests cannot be opened; these go by themselves after a day. */
  readonly answers: number;

  constructor(unopened: { engine_ids: string[]; answers: number }) {
    const { engine_ids, answers } = unopened;
    const named = engine_ids.slice(0, MAX_NAMED);
    const more = engine_ids.length > named.length ? ' and more' : '';
    super(
      `No key of ORCH_MASTER_KEY opens ${engine_ids.length} engine(s) and ${answers} kept answer(s); nothing was changed.` +
        (named.length > 0 ? ` Engines: ${named.join(', ')}${more}.` : ''),
    );
    this.engines = engine_ids.length;
    this.engine_ids = named;
    this.answers = answers;
  }
}

export type MasterKeyRotation = { engines: number; answers: number };

/**
 * Seals everything with the first of `keys`; gives how many engines and kept answers it changed. `onProgress` hears
 * after each batch how many rows of how many have been dealt with. Throws `MissingMasterKey`, `NOT_READY`.
 */
export async function rotateMasterKeys(
  db: Db,
  keys: MasterKeys,
  options: { onProgress?: (done: number, total: number) => void } = {},
): Promise<MasterKeyRotation> {
  const total = await checkAll(db, keys);
  const changed: MasterKeyRotation = { engines: 0, answers: 0 };
  let done = 0;
  const note = (rows: number) => {
    done += rows;
    options.onProgress?.(Math.min(done, total), total);
  };
  changed.engines = await inBatches(note, (after: string | null) =>
    db.tx(async (sql) => {
      const page = await enginesAfter(sql, after, 'FOR NO KEY UPDATE');
      const anew = page.flatMap(({ id, engine_key_enc, next_key_enc }) => {
        const key = keys.reseal(engine_key_enc);
        const next = next_key_enc === null ? null : keys.reseal(next_key_enc);
        return key === null && next === null ? [] : [{ id, key, next }];
      });
      await sql.query(
        `UPDATE engines e SET engine_key_enc = coalesce(anew.key, e.engine_key_enc),
                              next_key_enc = coalesce(anew.next, e.next_key_enc)
           FROM unnest($1::uuid[], $2::text[], $3::text[]) AS anew (id, key, next) WHERE e.id = anew.id`,
        [anew.map(({ id }) => id), anew.map(({ key }) => key), anew.map(({ next }) => next)],
      );
      return { page, last: page.at(-1)?.id ?? null, changed: anew.length };
    }),
  );
  changed.answers = await inBatches(note, (after: AnswerId | null) =>
    db.tx(async (sql) => {
      const page = await answersAfter(sql, after, 'FOR NO KEY UPDATE');
      const anew = page.flatMap(({ scope, key, answer_enc }) => {
        const sealed = keys.reseal(answer_enc);
        return sealed === null ? [] : [{ scope, key, sealed }];
      });
      await sql.query(
        `UPDATE idempotency_keys i SET answer_enc = anew.sealed
           FROM unnest($1::text[], $2::text[], $3::text[]) AS anew (scope, key, sealed)
          WHERE i.scope = anew.scope AND i.key = anew.key`,
        [anew.map(({ scope }) => scope), anew.map(({ key }) => key), anew.map(({ sealed }) => sealed)],
      );
      return { page, last: page.at(-1) ?? null, changed: anew.length };
    }),
  );
  return changed;
}

/** Opens everything, and changes nothing; gives how many rows there are. */
async function checkAll(db: Db, keys: MasterKeys): Promise<number> {
  const unopened: { engine_ids: string[]; answers: number } = { engine_ids: [], answers: 0 };
  let rows = 0;
  const count = (more: number) => {
    rows += more;
  };
  await inBatches(count, async (after: string | null) => {
    const page = await enginesAfter(db, after, '');
    for (const { id, engine_key_enc, next_key_enc } of page) {
      if (![engine_key_enc, next_key_enc].every((sealed) => sealed === null || opens(keys, sealed))) {
        unopened.engine_ids.push(id);
      }
    }
    return { page, last: page.at(-1)?.id ?? null, changed: 0 };
  });
  await inBatches(count, async (after: AnswerId | null) => {
    const page = await answersAfter(db, after, '');
    unopened.answers += page.filter(({ answer_enc }) => !opens(keys, answer_enc)).length;
    return { page, last: page.at(-1) ?? null, changed: 0 };
  });
  if (unopened.engine_ids.length > 0 || unopened.answers > 0) throw new MissingMasterKey(unopened);
  return rows;
}

function opens(keys: MasterKeys, sealed: string): boolean {
  try {
    keys.open(sealed);
    return true;
  } catch (error) {
    if (error instanceof FernetError) return false;
    throw error;
  }
}

/** Goes through a table page by page; gives how many rows were changed. */
async function inBatches<Last>(
  note: (rows: number) => void,
  work: (after: Last | null) => Promise<{ page: unknown[]; last: Last | null; changed: number }>,
): Promise<number> {
  let changed = 0;
  for (let after: Last | null = null; ; ) {
    const batch = await work(after);
    changed += batch.changed;
    note(batch.page.length);
    if (batch.page.length < BATCH) return changed;
    after = batch.last;
  }
}

type Locking = '' | 'FOR NO KEY UPDATE';

// In the order of their keys, so that no two who lock several rows wait for each other. The limit stands in the text:
// a prepared statement that does not know it is planned as a scan of the whole table, once for each batch.

async function enginesAfter(sql: Sql, after: string | null, lock: Locking) {
  return await sql.query<{ id: string; engine_key_enc: string; next_key_enc: string | null }>(
    `SELECT id, engine_key_enc, next_key_enc FROM engines
      WHERE id > $1 ORDER BY id LIMIT ${BATCH} ${lock}`,
    [after ?? '00000000-0000-0000-0000-000000000000'],
  );
}

type AnswerId = { scope: string; key: string };

async function answersAfter(sql: Sql, after: AnswerId | null, lock: Locking) {
  return await sql.query<AnswerId & { answer_enc: string }>(
    `SELECT scope, key, answer_enc FROM idempotency_keys
      WHERE (scope, key) > ($1, $2) AND answer_enc IS NOT NULL ORDER BY scope, key LIMIT ${BATCH} ${lock}`,
    [after?.scope ?? '', after?.key ?? ''],
  );
}
