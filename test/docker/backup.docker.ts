/** deploy/backup.sh and deploy/restore.sh: a deployment at work, backed up, lost altogether, and put back. */
import { cp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Deployment, docker, newDeployment } from './support/deployment.ts';
import { type Engine, type Product, registerProduct, say } from './support/products.ts';

let deployment: Deployment;
let product: Product;
let engine: Engine;

const containerOf = ({ engine_id }: Engine) => `engine-${engine_id.slice(0, 12)}`;
/** What a script says when it refuses. */
const refusal = async (line: string): Promise<string> => {
  const error = await deployment.shell(line).then(
    () => new Error('it was not refused'),
    (error: Error & { stderr: string }) => error,
  );
  return 'stderr' in error ? error.stderr : error.message;
};

beforeAll(async () => {
  deployment = await newDeployment();
  await deployment.start();
  product = await registerProduct(deployment);
  engine = await product.admit('ada');
}, 120_000);

afterAll(() => deployment.remove(), 60_000);

describe('a backup', () => {
  it('is made under load, and brings conversations, files and keys back', async () => {
    await say(engine, 'names', 'My name is Ada.');
    await docker('exec', containerOf(engine), 'sh', '-c', 'echo kept >/data/workspace/note.txt');
    let working = true;
    let turns = 0;
    const load = (async () => {
      while (working) await say(engine, `load-${turns++}`, 'Say hello.');
    })();
    try {
      await deployment.shell('sh deploy/backup.sh backup');
    } finally {
      working = false;
      await load;
    }
    expect(turns).toBeGreaterThan(0);
    expect((await readdir(join(deployment.folder, 'backup'))).sort()).toEqual([
      'SHA256SUMS',
      'engines',
      'manifest',
      'postgres.dump',
    ]);

    // As it is when the engine was started anew between the copies of registry and brain.
    const manifest = join(deployment.folder, 'backup/manifest');
    expect(await readFile(manifest, 'utf8')).toBe(`engine ${engine.engine_id} 1\n`);
    await writeFile(manifest, `engine ${engine.engine_id} 7\n`);
    await deployment.shell('cd backup && find . -type f ! -name SHA256SUMS -exec sha256sum {} + >SHA256SUMS');

    await deployment.wipe();
    expect(await deployment.shell('sh deploy/restore.sh backup')).toMatch(
      new RegExp(`${engine.engine_id} +1 +7`),
    );
    await deployment.start();
    const again = await product.admit('ada');
    expect(again).toMatchObject({ engine_id: engine.engine_id, api_key: engine.api_key });
    expect(await say(again, 'names', 'What is my name?')).toContain('Ada');
    expect(await docker('exec', containerOf(again), 'cat', '/data/workspace/note.txt')).toBe('kept');
  }, 180_000);

  it('is not written over, and not put where something is', async () => {
    expect(await refusal('sh deploy/backup.sh backup')).toMatch(/is there already/);
    expect(await refusal('sh deploy/restore.sh backup')).toMatch(/compose stop orchestrator/);
    await deployment.compose('stop', 'orchestrator');
    expect(await refusal('sh deploy/restore.sh backup')).toMatch(/is here already \(volume engine-/);
    expect(await refusal('sh deploy/restore.sh deploy')).toMatch(/is no backup/);
    expect(await refusal('sh deploy/restore.sh')).toMatch(/usage:/);
  }, 60_000);

  it('that is damaged is refused before anything is touched', async () => {
    const { folder } = deployment;
    await cp(join(folder, 'backup'), join(folder, 'damaged'), { recursive: true });
    await truncate(join(folder, 'damaged/postgres.dump'), 1000);
    expect(await refusal('sh deploy/restore.sh damaged')).toMatch(/damaged/);
    await rm(join(folder, 'damaged/postgres.dump'));
    expect(await refusal('sh deploy/restore.sh damaged')).toMatch(/damaged/);
  });
});
