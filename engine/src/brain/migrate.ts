import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { EngineExit } from '@september/contract';
import { StartError, systemCode } from '../errors.ts';
import { integer, transaction } from './sqlite.ts';

/**
 * Brings a brain's schema up to this Engine's: the numbered files of `migrations/`, in order, each once, all
 * missing ones in a single transaction, so that a brain is never left between two versions. A file is never
 * edited after it landed. Source: engine-runtime, "Brain".
 */

/** The brain cannot be brought to this Engine's schema: it is from a newer Engine, or a migration failed. */
export class BrainMismatch extends Error {
  override name = 'BrainMismatch';
}

/**
 * @returns names of the migrations that ran now.
 * @throws BrainMismatch, StartError; then nothing has changed.
 */
export function migrate(db: DatabaseSync, migrations_dir: string, now: number): string[] {
  const files = listMigrations(migrations_dir);
  const newest = files.length;
  const version = currentVersion(db);
  if (version > newest) {
    throw new BrainMismatch(
      `The brain has schema version ${version}, this Engine knows ${newest}. Run the Engine that wrote it, or a newer one.`,
    );
  }
  const missing = files.slice(version);
  if (missing.length === 0) return [];
  transaction(db, () => {
    db.exec(
      'CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT',
    );
    const done = db.prepare('INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)');
    for (const name of missing) {
      const number = Number.parseInt(name, 10);
      if (number !== files.indexOf(name) + 1) throw new BrainMismatch(`Migration ${name} is out of order`);
      try {
        db.exec(readFileSync(join(migrations_dir, name), 'utf8'));
      } catch (error) {
        throw new BrainMismatch(
          `Migration ${name} failed: ${error instanceof Error ? error.message : error}`,
          {
            cause: error,
          },
        );
      }
      done.run(number, name, now);
    }
  });
  return missing;
}

function listMigrations(dir: string): string[] {
  try {
    return readdirSync(dir)
      .filter((name) => /^\d{4}_\w+\.sql$/.test(name))
      .sort();
  } catch (error) {
    throw new StartError(
      EngineExit.BAD_CONFIG,
      `MIGRATIONS_DIR: ${dir} cannot be read (${systemCode(error)}).`,
    );
  }
}

function currentVersion(db: DatabaseSync): number {
  const table = db
    .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_migrations'")
    .get();
  if (table === undefined) return 0;
  const row = db.prepare('SELECT coalesce(max(version), 0) AS version FROM schema_migrations').get();
  return row === undefined ? 0 : integer(row, 'version');
}
