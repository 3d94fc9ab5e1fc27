import { readdir } from 'node:fs/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openDb } from '../../src/registry/db.ts';
import { checkSchema, migrate } from '../../src/registry/migrate.ts';
import { createDatabase } from '../support/database.ts';

function open(url: string) {
  const db = openDb(url, () => {});
  onTestFinished(() => db.end());
  return db;
}

describe('migrations', () => {
  it('are applied once, however many orchestrators start at the same moment', async () => {
    const url = await createDatabase();
    const replicas = Array.from({ length: 5 }, () => open(url));
    const applied = await Promise.all(replicas.map(migrate));
    const files = (await readdir(new URL('../../src/registry/migrations/', import.meta.url))).sort();
    expect(applied.filter((names) => names.length > 0)).toEqual([files]);
    const [db] = replicas;
    if (db === undefined) throw new Error('no database');
    expect(await db.query('SELECT version, name FROM schema_migrations ORDER BY version')).toEqual(
      files.map((name) => ({ version: Number(name.slice(0, 4)), name })),
    );
    expect(await migrate(db)).toEqual([]);
    await checkSchema(db);
  });

  it('have a number each: two of one number would stop every start', async () => {
    const files = await readdir(new URL('../../src/registry/migrations/', import.meta.url));
    expect(new Set(files.map((name) => name.slice(0, 4))).size).toBe(files.length);
  });

  it('that are not finished make the orchestrator say so', async () => {
    const db = open(await createDatabase());
    await migrate(db);
    await db.query('DELETE FROM schema_migrations');
    await expect(checkSchema(db)).rejects.toMatchObject({ code: 'NOT_READY', retry_after_s: 2 });
  });
});
