/** Looks at what the registry says against the rest of the world: keys, ports, epochs. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { FernetError } from '../keys/fernet.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Db } from '../registry/db.ts';
import { outdatedEpochs } from '../registry/epochs.ts';
import type { PortRange } from '../registry/ports.ts';
import type { Finding } from './finding.ts';

/** Engine keys that are opened; ids are random, so the first are any. */
const KEY_SAMPLE = 50;
/** Ports that are tried: those the next engines would get. */
const PORT_SAMPLE = 50;
/** Below this share of the range somebody should think of more ports. */
const LOW_PORT_SHARE = 0.1;
/** Engines that a finding names; the rest are counted. */
const MAX_NAMED = 5;

export async function checkMasterKey(db: Db, keys: MasterKeys): Promise<Finding> {
  const check = 'master key';
  const rows = await db.query<{ engine_key_enc: string }>(
    'SELECT engine_key_enc FROM engines ORDER BY id LIMIT $1',
    [KEY_SAMPLE],
  );
  const shut = rows.filter(({ engine_key_enc }) => !opens(keys, engine_key_enc)).length;
  if (shut === 0)
    return { check, verdict: 'ok', found: `It opens the ${rows.length} engine keys that were tried.` };
  return {
    check,
    verdict: 'problem',
    found: `${shut} of ${rows.length} engine keys that were tried cannot be opened.`,
    advice: 'Add the key they were sealed with to ORCH_MASTER_KEY, behind the first, separated by a comma.',
  };
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

export async function checkPorts(db: Db, { min, max }: PortRange): Promise<Finding> {
  const check = 'ports';
  const [row] = await db.query<{ left: number; next: number[] }>(
    `WITH free AS (
       SELECT port FROM generate_series($1::int, $2::int) AS port
        WHERE NOT EXISTS (SELECT FROM ports p WHERE p.port = port.port
                            AND (p.engine_id IS NOT NULL OR p.set_aside_until > now())))
     SELECT (SELECT count(*)::int FROM free) AS left,
            ARRAY(SELECT port FROM free ORDER BY port LIMIT $3) AS next`,
    [min, max, PORT_SAMPLE],
  );
  const { left = 0, next = [] } = row ?? {};
  const size = max - min + 1;
  const taken = (await Promise.all(next.map(isTaken))).filter(Boolean).length;
  const found = `${left} of ${size} ports (${min} to ${max}) are left.`;
  const advice = 'Widen ORCH_PORT_MIN to ORCH_PORT_MAX, or destroy unused engines.';
  if (left === 0) return { check, verdict: 'problem', found, advice };
  if (taken > 0) {
    return {
      check,
      verdict: 'warning',
      found: `${found} Other programs listen on ${taken} of the next ${next.length}.`,
      advice: 'Give the engines a range of their own: ORCH_PORT_MIN, ORCH_PORT_MAX.',
    };
  }
  if (left < size * LOW_PORT_SHARE) return { check, verdict: 'warning', found, advice };
  return { check, verdict: 'ok', found };
}

async function isTaken(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
    return false;
  } catch {
    return true;
  } finally {
    server.close();
  }
}

/**
 * An engine of which the backend has seen a higher epoch than the registry has: the database is older than it, it was
 * restored from a backup. The fence refuses to boot such an engine (O22), rightly: it cannot tell a restored
 * registry from an outdated orchestrator.
 */
export async function checkEpochs(
  db: Db,
  readFences: () => Promise<ReadonlyMap<string, number>>,
): Promise<Finding> {
  const check = 'epochs';
  // First what the backend has: while engines start, the registry is ahead of it, never behind.
  const fences = await readFences();
  const outdated = await outdatedEpochs(db, fences);
  if (outdated.length === 0) {
    return {
      check,
      verdict: 'ok',
      found: `The registry is not behind any of the ${fences.size} engines here.`,
    };
  }
  const named = outdated.slice(0, MAX_NAMED).map(({ engine_id }) => engine_id);
  const more = outdated.length > named.length ? ` and ${outdated.length - named.length} more` : '';
  return {
    check,
    verdict: 'problem',
    found: `The registry is behind the data of ${named.join(', ')}${more}: it was restored from a backup. They cannot boot.`,
    advice: 'When no other orchestrator with a newer registry runs them: `bap-engine repair-epochs --yes`.',
  };
}
