/** What is decided about each of the commands in commands.txt, on a real folder. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { permissionRoots } from '../support/permissions.ts';

const LINE = /^(allow|ask|deny) (.*)$/u;

const text = readFileSync(new URL('./commands.txt', import.meta.url), 'utf8');
const sections = text
  .split(/^## /mu)
  .slice(1)
  .map((section) => {
    const [title = '', ...lines] = section.split('\n');
    const rows = lines.flatMap((line) => {
      const [, decision, command] = LINE.exec(line) ?? [];
      return command === undefined ? [] : [{ decision, command: command.replaceAll('⏎', '\n') }];
    });
    return { title, rows };
  });
const rows = sections.flatMap((section) => section.rows);
const { decide } = await permissionRoots();

describe.each(sections)('$title', ({ rows }) => {
  it.each(rows)('$decision: $command', ({ decision, command }) => {
    const decided = decide(command);
    expect(decided.decision, decided.findings.map(({ reason }) => reason).join('\n')).toBe(decision);
  });
});

it('is a table of at least 400 commands, half of them not everyday ones', () => {
  const asked = rows.filter(({ decision }) => decision !== 'allow');
  expect(rows.length).toBeGreaterThanOrEqual(400);
  expect(asked.length).toBeGreaterThanOrEqual(200);
});
