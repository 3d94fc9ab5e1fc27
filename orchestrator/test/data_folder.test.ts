import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CannotStart, lockDataFolder, prepareDataFolder } from '../src/development/data_folder.ts';
import { loadOrMakeSecrets } from '../src/development/secrets.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'data-folder-'));
});
afterEach(() => rm(folder, { recursive: true }));

it('refuses a disk without room, and says how much is free and what to do', async () => {
  const refused = prepareDataFolder(folder, 2 ** 60);
  await expect(refused).rejects.toBeInstanceOf(CannotStart);
  await expect(refused).rejects.toThrow(/only \d+ MB free.*ORCH_DATA_DIR/);
});

it('refuses a folder that cannot be made', async () => {
  await writeFile(join(folder, 'file'), '');
  await expect(prepareDataFolder(join(folder, 'file', 'below'))).rejects.toThrow(
    /cannot be written to \(ENOTDIR\)/,
  );
});

it('lets one run into a folder at a time', async () => {
  const first = await lockDataFolder(folder, 'http://first');
  await expect(lockDataFolder(folder, 'http://second')).rejects.toThrow(/already runs in .*http:\/\/first/);
  first.release();
  (await lockDataFolder(folder, 'http://second')).release();
});

it('makes secrets once', async () => {
  const made = await loadOrMakeSecrets(folder, () => 'pk-sept-one');
  expect(Buffer.from(made.master_key, 'base64url')).toHaveLength(32);
  expect(await loadOrMakeSecrets(folder, () => 'pk-sept-two')).toEqual(made);
});
