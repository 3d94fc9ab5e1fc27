import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { EngineExit } from '@september/contract';
import { StartError, systemCode } from '../errors.ts';
import { type Compactions, openCompactions } from './compactions.ts';
import { type Conversations, openConversations } from './conversations.ts';
import { type EngineKeys, type Overlap, openEngineKeys } from './engine_keys.ts';
import { checkEpoch, holdEpoch } from './epoch.ts';
import { type EventLog, openEventLog } from './event_log.ts';
import { type Hitl, openHitl } from './hitl.ts';
import { type Ingestion, openIngestion } from './ingestion.ts';
import { lockBrain } from './lock.ts';
import { type Messages, openMessages } from './messages.ts';
import { migrate } from './migrate.ts';
import { type ModelCalls, openModelCalls } from './model_calls.ts';
import { type Observability, openObservability } from './observability.ts';
import { openRememberedPermissions, type RememberedPermissions } from './remembered_permissions.ts';
import { openToolCalls, type ToolCalls } from './tool_calls.ts';
import { openTurns, type Turns } from './turns.ts';
import { openWorkingMemory, type WorkingMemory } from './working_memory.ts';

/**
 * The brain: one SQLite file, everything an Engine must not forget. Opened once, written by this process
 * only. The order below matters: nobody else may hold it, nobody newer may have held it, and only then is it
 * changed. Source: engine-runtime, "Brain".
 */
export type Brain = {
  conversations: Conversations;
  messages: Messages;
  compactions: Compactions;
  turns: Turns;
  model_calls: ModelCalls;
  tool_calls: ToolCalls;
  hitl: Hitl;
  remembered_permissions: RememberedPermissions;
  observability: Observability;
  ingestion: Ingestion;
  working_memory: WorkingMemory;
  events: EventLog;
  keys: EngineKeys;
  /** Names of the migrations that ran at this start. */
  migrated: string[];
  /** Whether the file is still there and can be read and written; asks the database itself. */
  healthy(): boolean;
  close(): void;
};

export type BrainOptions = {
  path: string;
  migrations_dir: string;
  epoch: number | undefined;
  key_hash: string;
  key_overlap: Overlap;
  /** How long events can be replayed after their turn's end, milliseconds. */
  replay_ttl_ms: number;
  now: () => number;
  /** A write in the background failed; whoever writes next is told by an exception. */
  onError: (error: unknown) => void;
};

const BUSY_TIMEOUT_MS = 5_000;

/**
 * SQLite's log grows to so many pages of 4 KiB before what is in it goes into the file itself. The commit that fills it
 * waits for that; a small turn writes about 40 pages, so it is one turn in a hundred, and with SQLite's own 1,000 it
 * would be one in 25. The price is 16 MiB beside the brain.
 */
const CHECKPOINT_PAGES = 4_000;

/** What has outlived its time is looked for this often. */
const PURGE_INTERVAL_MS = 10_000;

/**
 * @throws StartError when the brain is held by another process or by a newer epoch, or cannot be made;
 *   BrainMismatch when its schema is not ours. The lock then stays held until the process ends, which is what
 *   the caller wants.
 */
export async function openBrain(options: BrainOptions): Promise<Brain> {
  makeFolder(options.path);
  const lock = await lockBrain(options.path);
  const db = openFile(options.path);
  checkEpoch(db, options.epoch);
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON');
  db.exec(`PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  const migrated = migrate(db, options.migrations_dir, options.now());
  holdEpoch(db, options.epoch);

  const events = openEventLog(db, {
    path: options.path,
    ttl_ms: options.replay_ttl_ms,
    now: options.now,
    onError: options.onError,
  });
  const keys = openEngineKeys(db, {
    boot_hash: options.key_hash,
    overlap: options.key_overlap,
    now: options.now,
  });
  const working_memory = openWorkingMemory(db);
  const observability = openObservability(db);
  const purging = setInterval(() => {
    try {
      keys.purge();
      working_memory.expire(options.now());
      observability.expire(options.now());
    } catch (error) {
      options.onError(error);
    }
  }, PURGE_INTERVAL_MS).unref();

  const inode = statSync(options.path).ino;
  const readProbe = db.prepare('SELECT epoch FROM brain_lock WHERE id = 1');
  const writeProbe = db.prepare('UPDATE brain_lock SET epoch = epoch WHERE id = 1');

  return {
    conversations: openConversations(db),
    messages: openMessages(db),
    compactions: openCompactions(db),
    turns: openTurns(db),
    model_calls: openModelCalls(db),
    tool_calls: openToolCalls(db),
    hitl: openHitl(db),
    remembered_permissions: openRememberedPermissions(db),
    observability,
    ingestion: openIngestion(db),
    working_memory,
    events,
    keys,
    migrated,
    healthy() {
      try {
        // An open file can be deleted or replaced under us; what is written to it then is lost at exit.
        if (statSync(options.path).ino !== inode) return false;
        if (events.failed()) events.commit([], () => writeProbe.run());
        return readProbe.get() !== undefined;
      } catch {
        return false;
      }
    },
    close() {
      clearInterval(purging);
      events.close();
      db.close();
      lock.release();
    },
  };
}

function openFile(path: string): DatabaseSync {
  try {
    const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS });
    // SQLite looks at a file only when it is first asked something.
    db.exec('PRAGMA schema_version');
    return db;
  } catch (error) {
    throw new StartError(
      EngineExit.BAD_CONFIG,
      `SQLITE_DB_PATH: ${path} cannot be opened as a brain (${error instanceof Error ? error.message : error}).`,
      { cause: error },
    );
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
  } catch (error) {
    throw new StartError(
      EngineExit.BAD_CONFIG,
      `SQLITE_DB_PATH: the folder of ${path} cannot be made (${systemCode(error)}). Name a file in a folder this process may write.`,
      { cause: error },
    );
  }
}
