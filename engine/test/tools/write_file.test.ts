import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeFileTool } from '../../src/tools/write_file.ts';
import { createFileQueue } from '../../src/tools/writing.ts';
import { makeRoots, WAYS_OUT } from '../support/rooted.ts';
import { toolContext } from '../support/tool_context.ts';

const { folder, roots, inside } = makeRoots();
const write = writeFileTool(roots, createFileQueue());
const context = toolContext();

/** A call for which a person has opened these paths. */
const opened = (...paths: string[]) => toolContext({ opened: { paths, hosts: [] } });

describe('write_file', () => {
  it('makes, replaces and adds', async () => {
    await write.run({ path: 'new.txt', content: 'one\n' }, context);
    await write.run({ path: 'new.txt', content: 'two\n', mode: 'append' }, context);
    expect(readFileSync(inside('new.txt'), 'utf8')).toBe('one\ntwo\n');
    const { output } = await write.run({ path: inside('new.txt'), content: 'ü' }, context);
    expect(output).toEqual({ path: inside('new.txt'), bytes_written: 2 });
    expect(readFileSync(inside('new.txt'), 'utf8')).toBe('ü');
    expect(readdirSync(inside('')).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('leaves a script what it is: the mode stays', async () => {
    writeFileSync(inside('run.sh'), 'old');
    chmodSync(inside('run.sh'), 0o750);
    await write.run({ path: 'run.sh', content: 'new' }, context);
    expect(statSync(inside('run.sh')).mode & 0o777).toBe(0o750);
  });

  it('goes where a link inside leads, also to a new file, and leaves the link', async () => {
    await write.run({ path: 'good-folder-link/made.txt', content: 'made' }, context);
    expect(readFileSync(inside('sub/made.txt'), 'utf8')).toBe('made');
    writeFileSync(inside('aim.txt'), 'old');
    symlinkSync('aim.txt', inside('to-aim'));
    await write.run({ path: 'to-aim', content: 'new' }, context);
    expect(readFileSync(inside('aim.txt'), 'utf8')).toBe('new');
  });

  it('says what is wrong', async () => {
    expect((await write.run({ path: 'absent/new.txt', content: '' }, context)).error).toBe('not_found');
    expect((await write.run({ path: 'in.txt/new.txt', content: '' }, context)).error).toBe('not_found');
    expect((await write.run({ path: 'sub', content: '' }, context)).error).toBe('invalid_input');
    expect((await write.run({ path: 'sub', content: '', mode: 'append' }, context)).error).toBe(
      'invalid_input',
    );
  });

  it.each([...WAYS_OUT, '.'])('never writes to %s', async (path) => {
    for (const mode of ['overwrite', 'append']) {
      expect((await write.run({ path, content: 'x', mode }, context)).error).toBe('permission_denied');
    }
    expect(readdirSync(join(folder, 'outside'))).toEqual(['secret.txt']);
    expect(readFileSync(join(folder, 'outside', 'secret.txt'), 'utf8')).toBe('secret');
  });

  it('tells permissions what it would write', () => {
    expect(write.acts?.({ path: '/etc/hosts' })).toEqual([{ kind: 'write', path: '/etc/hosts' }]);
    expect(write.acts?.({ path: 7 })).toEqual([]);
  });
});

describe('what a person has opened', () => {
  const elsewhere = (name: string) => join(folder, 'outside', name);

  it('is written for that call: the file, whether it is there or not, or what is in the folder', async () => {
    for (const context of [opened(elsewhere('made.txt')), opened(join(folder, 'outside'))]) {
      expect(
        (await write.run({ path: elsewhere('made.txt'), content: 'yes' }, context)).error,
      ).toBeUndefined();
      expect(readFileSync(elsewhere('made.txt'), 'utf8')).toBe('yes');
      expect(
        (await write.run({ path: 'folder-link/made.txt', content: 'link' }, context)).error,
      ).toBeUndefined();
      expect(readFileSync(elsewhere('made.txt'), 'utf8')).toBe('link');
      rmSync(elsewhere('made.txt'));
    }
    expect((await write.run({ path: elsewhere('made.txt'), content: 'no' }, context)).error).toBe(
      'permission_denied',
    );
    expect(existsSync(elsewhere('made.txt'))).toBe(false);
  });

  it('opens nothing beside it, and never the brain', async () => {
    const call = opened(elsewhere('made.txt'), join(folder, 'second'));
    for (const path of ['secret.txt', 'made.txt2', 'made.txt/deeper', 'other.txt']) {
      expect((await write.run({ path: elsewhere(path), content: 'x' }, call)).error, path).toMatch(
        /permission_denied|not_found/,
      );
    }
    const brain = join(folder, 'second', 'brain.sqlite');
    expect((await write.run({ path: brain, content: 'x' }, call)).error).toBe('permission_denied');
    mkdirSync(elsewhere('folder'));
    expect((await write.run({ path: elsewhere('folder/x'), content: 'x' }, call)).error).toBe(
      'permission_denied',
    );
    rmSync(elsewhere('folder'), { recursive: true });
  });
});
