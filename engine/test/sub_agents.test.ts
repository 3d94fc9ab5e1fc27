import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { catalogOf } from './support/catalog.ts';
import { startEngine, temporaryFolder } from './support/engine.ts';
import { scriptedModel } from './support/scripted.ts';
import { textOf, turn } from './support/stream.ts';

const model = await scriptedModel();
const folder = temporaryFolder();
const engine = await startEngine(folder, {
  ...model.settings,
  ...catalogOf({ assistant: ['run_agent', 'write_file'], reader: ['list_files', 'read_file'] }),
});

const agent = (message: string, name = 'reader') => ({ tool: 'run_agent', input: { agent: name, message } });

describe('an agent', () => {
  it('has the tools of its list and no others, also when it names one', async () => {
    const write = { tool: 'write_file', input: { path: 'not_mine.txt', content: 'x' } };
    model.script(
      { steps: [agent('Write a file.')] },
      { steps: [write] },
      { steps: [{ text: 'I cannot write.' }] },
      { steps: [{ text: 'It cannot.' }] },
    );
    const received = await turn(engine, 'tools', 'Have it written.');
    const [refused] = received.filter((event) => event.type === 'tool_result').map((event) => event.data);
    expect(refused).toMatchObject({
      tool: 'write_file',
      error: 'not_found',
      output: expect.stringMatching(/list_files, read_file/),
    });
    expect(refused?.output).not.toContain('run_agent');
    expect(existsSync(join(folder, 'workspace', 'not_mine.txt'))).toBe(false);
    expect(textOf(received)).toContain('It cannot.');
  });
});
