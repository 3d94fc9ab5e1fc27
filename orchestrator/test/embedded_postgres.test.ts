import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../src/registry/embedded_postgres.ts';
import { processCommand } from '../src/registry/process_command.ts';

let folder: string;
let server: EmbeddedPostgres | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'embedded-postgres-'));
});

afterEach(async () => {
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function query(sql: string) {
  const client = new pg.Client(server?.url);
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

describe('startEmbeddedPostgres', () => {
  it('keeps its data from one start to the next and leaves no process behind', async () => {
    server = await startEmbeddedPostgres({ folder });
    await query('CREATE TABLE kept AS SELECT 42 AS answer');
    const { pid } = server;
    await server.stop();
    expect(await processCommand(pid)).toBeNull();

    server = await startEmbeddedPostgres({ folder });
    expect(server.adopted).toBe(false);
    expect(await query('SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
  });

  it('takes over a server that an earlier run left behind', async () => {
    const first = await startEmbeddedPostgres({ folder });
    server = await startEmbeddedPostgres({ folder });
    expect(server).toMatchObject({ adopted: true, pid: first.pid, url: first.url });
  });

  it('starts again after the server itself was killed', async () => {
    server = await startEmbeddedPostgres({ folder });
    await query('CREATE TABLE kept AS SELECT 42 AS answer');
    const { pid } = server;
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => processCommand(pid)).toBeNull();

    server = await startEmbeddedPostgres({ folder });
    expect(server.adopted).toBe(false);
    expect(await query('SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
  });

  it('does not take a strange process with a recycled id for the server', async () => {
    server = await startEmbeddedPostgres({ folder });
    const pidFile = join(folder, 'data', 'postmaster.pid');
    const lines = (await readFile(pidFile, 'utf8')).split('\n');
    await server.stop();
    await writeFile(pidFile, [process.pid, ...lines.slice(1)].join('\n'));

    server = await startEmbeddedPostgres({ folder });
    expect(server.adopted).toBe(false);
    expect(await query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('asks for its password', async () => {
    server = await startEmbeddedPostgres({ folder });
    const url = new URL(server.url);
    url.password = 'wrong';
    const client = new pg.Client(url.href);
    await expect(client.connect()).rejects.toMatchObject({ code: '28P01' });
  });
});
