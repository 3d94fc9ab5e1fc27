/**
 * Runs a TypeScript file of this repository with the project's own Node.js, after installing what is missing.
 *
 *   node scripts/run.mjs FILE [ARGS …]
 *
 * Why it exists: in a fresh clone there is nothing but npm and whatever Node.js the machine has. So this one
 * file is plain JavaScript for Node.js 20 and up and imports nothing that has to be installed. npm puts the
 * pinned Node.js 24 (package `node`) first on the PATH of its scripts, but only once it is installed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const WANTED_MAJOR = 24;
/** How often we look whether npm, our parent, still lives, milliseconds. */
const PARENT_CHECK_MS = 500;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
if (Number.parseInt(process.versions.node, 10) < 20) {
  stop(`npm needs Node.js 20 or newer to begin with, this is ${process.version}: https://nodejs.org`);
}
const [file, ...args] = process.argv.slice(2);
if (file === undefined) stop('usage: node scripts/run.mjs FILE [ARGS …]');

installWhatIsMissing();
runWith(projectNode());

/** `npm ci`, unless this very package-lock.json is what node_modules was installed from. */
function installWhatIsMissing() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  const stamp = join(root, 'node_modules', '.installed-from');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  // What stands on standard output is the program's alone: it may be read by another.
  console.error(
    'Installing dependencies from package-lock.json (once; about 400 MB with PostgreSQL and Node.js) …',
  );
  const npm = process.env.npm_execpath;
  const command = npm ? [process.execPath, npm] : ['npm'];
  const [program, ...rest] = [...command, 'ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status, error } = spawnSync(program, rest, { cwd: root, stdio: ['inherit', 2, 2] });
  if (status !== 0) {
    const why = error ? ` (${error.message})` : '';
    stop(
      `npm ci failed${why}. See its message above: the registry must be reachable and the disk have 500 MB free.`,
    );
  }
  writeFileSync(stamp, lock);
}

/** The Node.js from the package `node`; the running one where that package has no binary but this one will do. */
function projectNode() {
  const own = join(root, 'node_modules', 'node', 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
  for (const node of [own, process.execPath]) {
    const { stdout } = spawnSync(node, ['-p', 'process.versions.node'], { encoding: 'utf8' });
    if (Number.parseInt(stdout ?? '', 10) >= WANTED_MAJOR) return node;
  }
  return stop(
    `Node.js ${WANTED_MAJOR} is needed and the npm package "node" brought none for ${process.platform}-${process.arch}: install Node.js ${WANTED_MAJOR} and try again.`,
  );
}

function runWith(node) {
  const child = spawn(node, [join(root, file), ...args], {
    stdio: 'inherit',
    env: {
      // To strip types and compile is half of a start; where this cannot be written, it is done each time. Beside
      // the code, so that whoever can put code in there could have changed the program as well.
      NODE_COMPILE_CACHE: join(root, 'node_modules', '.cache', 'compiled'),
      ...process.env,
      PATH: `${join(root, 'node_modules', '.bin')}:${process.env.PATH}`,
    },
  });
  // A terminal sends Ctrl-C to the child as well; we only have to outlive it and pass its verdict on.
  process.on('SIGINT', () => {});
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  // If npm is killed the hard way, nobody could stop the child any more but by hunting it down.
  const parent = process.ppid;
  const watch = () => {
    if (process.ppid === parent) return;
    child.kill('SIGTERM');
    process.exit(1);
  };
  setInterval(watch, PARENT_CHECK_MS).unref();
  child.on('error', (error) => stop(`Cannot run ${node}: ${error.message}`));
  child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
}

function stop(message) {
  console.error(message);
  process.exit(1);
}
