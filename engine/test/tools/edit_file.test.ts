import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { editFileTool, editText } from '../../src/tools/edit_file.ts';
import { createFileQueue } from '../../src/tools/writing.ts';
import { makeRoots, WAYS_OUT } from '../support/rooted.ts';
import { toolContext } from '../support/tool_context.ts';

const { folder, roots, inside } = makeRoots();
const edit = editFileTool(roots, createFileQueue());
const context = toolContext();

/** Edits a file with this text; gives the outcome, and the text there is then. */
async function edited(text: string | Buffer, input: Record<string, unknown>) {
  writeFileSync(inside('edited.txt'), text);
  const outcome = await edit.run({ path: 'edited.txt', ...input }, context);
  return { ...outcome, text: readFileSync(inside('edited.txt'), 'utf8') };
}

describe('edit_file', () => {
  it('replaces the one place, and says where it was', async () => {
    const { output, text } = await edited('a\nb\nc\n', { old_string: 'b\n', new_string: 'B $& $1\n' });
    expect(text).toBe('a\nB $& $1\nc\n');
    expect(output).toEqual({ path: inside('edited.txt'), replacements: 1, line: 2 });
  });

  it('replaces all places where that is wanted', async () => {
    const { output, text } = await edited('x x\nx', { old_string: 'x', new_string: 'xx', replace_all: true });
    expect([text, output]).toEqual(['xx xx\nxx', expect.objectContaining({ replacements: 3, line: 1 })]);
  });

  it('names the lines when there are several, and changes nothing', async () => {
    const many = Array.from({ length: 12 }, () => 'same').join('\n');
    const { error, output, text } = await edited(many, { old_string: 'same', new_string: 'other' });
    expect([error, text]).toEqual(['invalid_input', many]);
    expect(output).toContain('12 times, at lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and more');
  });

  it('says when nothing but the spaces is wrong, and where', async () => {
    const text = 'def f():\n\treturn  1\n\nlast';
    const near = await edited(text, { old_string: 'def f():\n    return 1\n', new_string: '' });
    expect([near.error, near.text]).toEqual(['not_found', text]);
    expect(near.output).toContain('at line 1');
    expect((await edited(text, { old_string: '  last ', new_string: '' })).output).toContain('at line 4');
    expect((await edited(text, { old_string: 'absent', new_string: '' })).output).toContain('Read the file');
  });

  it('keeps line ends, byte order mark and mode', async () => {
    const crlf = await edited('\ufeffa\r\nb\r\nc', { old_string: 'a\nb', new_string: 'a\nnew\nb' });
    expect(crlf.text).toBe('\ufeffa\r\nnew\r\nb\r\nc');
    const mixed = await edited('a\r\nb\nc', { old_string: 'b\nc', new_string: 'b\nd' });
    expect(mixed.text).toBe('a\r\nb\nd');
    chmodSync(inside('edited.txt'), 0o700);
    await edit.run({ path: 'edited.txt', old_string: 'd', new_string: 'e' }, context);
    expect(statSync(inside('edited.txt')).mode & 0o777).toBe(0o700);
    expect(readdirSync(inside('')).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('leaves alone what it could not give back as it was', async () => {
    for (const bytes of [Buffer.from('a\0b'), Buffer.from([0x61, 0xff, 0x62])]) {
      const { error } = await edited(bytes, { old_string: 'a', new_string: 'b' });
      expect(error).toBe('invalid_input');
      expect(readFileSync(inside('edited.txt'))).toEqual(bytes);
    }
    const large = await edited(Buffer.alloc(10 * 1024 * 1024 + 1, 'a'), { old_string: 'b', new_string: '' });
    expect(large.error).toBe('invalid_input');
    expect(large.output).toContain('10485761 bytes');
    const grown = await edited('a'.repeat(1_000), {
      old_string: 'a',
      new_string: 'b'.repeat(20_000),
      replace_all: true,
    });
    expect([grown.error, grown.text.length]).toEqual(['invalid_input', 1_000]);
  });

  it.each([
    [{ path: 'absent.txt', old_string: 'a', new_string: 'b' }, 'not_found'],
    [{ path: 'absent/x', old_string: 'a', new_string: 'b' }, 'not_found'],
    [{ path: 'sub', old_string: 'a', new_string: 'b' }, 'invalid_input'],
    [{ path: 'pipe', old_string: 'a', new_string: 'b' }, 'invalid_input'],
    [{ path: 'in.txt', old_string: '', new_string: 'b' }, 'invalid_input'],
    [{ path: 'in.txt', old_string: 'inside', new_string: 'inside' }, 'invalid_input'],
    [{ path: 'in.txt', old_string: 'inside' }, 'invalid_input'],
  ])('%j: %s', async (input, error) => {
    expect((await edit.run(input, context)).error).toBe(error);
  });

  it.each([...WAYS_OUT, '.'])('never changes %s', async (path) => {
    const input = { path, old_string: 'secret', new_string: 'changed' };
    expect((await edit.run(input, context)).error).toBe('permission_denied');
    expect(readFileSync(join(folder, 'outside', 'secret.txt'), 'utf8')).toBe('secret');
  });

  it('changes what a person has opened, for that call', async () => {
    const path = join(folder, 'outside', 'opened.txt');
    writeFileSync(path, 'old');
    expect(edit.acts?.({ path, old_string: 'old', new_string: 'new' })).toEqual([{ kind: 'write', path }]);
    const call = toolContext({ opened: { paths: [path], hosts: [] } });
    await edit.run({ path, old_string: 'old', new_string: 'new' }, call);
    expect(readFileSync(path, 'utf8')).toBe('new');
  });

  it('loses nothing when several calls change one file at once', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `<${index}>`);
    writeFileSync(inside('edited.txt'), names.join(''));
    await Promise.all(
      names.map((name) =>
        edit.run({ path: 'edited.txt', old_string: name, new_string: name.toUpperCase().slice(1) }, context),
      ),
    );
    expect(readFileSync(inside('edited.txt'), 'utf8')).toBe(names.map((name) => name.slice(1)).join(''));
  });
});

describe('a call that was cut', () => {
  const cut = async (text: string, old_string: string, new_string: string) => {
    writeFileSync(inside('cut.txt'), text);
    const verdict = await edit.check?.({ path: 'cut.txt', old_string, new_string }, context);
    return typeof verdict === 'string' ? verdict : (verdict?.error ?? 'done');
  };

  it('is told by the text of the file', async () => {
    expect(await cut('a b', 'b', 'c')).toBe('undone');
    expect(await cut('a c', 'b', 'c')).toBe('done');
    expect(await cut('a ', 'b', '')).toBe('done');
    expect(await cut('a', 'b', 'c')).toBe('undone');
    expect(await cut('a b', 'b', 'b c')).toBe('undone');
    // Whether it was put there by this call nobody can say.
    expect(await cut('a b c', 'b', 'b c')).toBe('unknown');
    expect(await edit.check?.({ path: 'absent', old_string: 'a', new_string: 'b' }, context)).toBe('undone');
    expect(await edit.check?.({ path: 'file-link', old_string: 'a', new_string: 'b' }, context)).toBe(
      'undone',
    );
  });
});

it('an edit and its reverse give the text back', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '\n', ' '), maxLength: 40 });
  fc.assert(
    fc.property(text, text, (before, after) => {
      const there = editText(`${before}<here>${after}`, {
        old_string: '<here>',
        new_string: '<there>',
        replace_all: false,
      });
      if ('error' in there) throw new Error('not found');
      expect(there.line).toBe(before.split('\n').length);
      expect(
        editText(there.text, { old_string: '<there>', new_string: '<here>', replace_all: true }),
      ).toMatchObject({ text: `${before}<here>${after}`, replacements: 1 });
    }),
  );
});
