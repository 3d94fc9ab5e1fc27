/**
 * Commands put together at random from everything the shell has to put commands together with: none may be judged
 * milder than what it is made of. And texts that are no commands, which must be judged all the same.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { permissionRoots } from '../support/permissions.ts';

const { decide } = await permissionRoots();

const RANK: Record<string, number> = { allow: 0, ask: 1, deny: 2 };

/** Harmless and not, each with its judgement by itself. */
const SIMPLE = [
  'ls -la',
  'echo hello',
  'git status',
  'grep -rn x src',
  'rm -rf build',
  'cat small.txt',
  'npm test',
  'rm -rf /etc',
  'rm -rf ..',
  'chmod -R 777 /srv',
  'git push --force',
  'dd if=small.txt of=/dev/sda',
  'shred big.txt',
  'echo x > /etc/passwd',
  'find / -name x -delete',
  'mkfs.ext4 /dev/sdb',
  'truncate -s 0 ../brain.sqlite',
];

const quoted = (text: string) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** The command's name in other letters for the same. */
const disguises: ((command: string) => string)[] = [
  (command) => command,
  (command) => `\\${command}`,
  (command) => command.replace(/^(\w)(\w*)/u, '"$1"$2'),
  (command) => command.replace(/^(\w)(\w*)/u, "$1''$2"),
  (command) =>
    command.replace(
      /^(\w+)/u,
      (name) => `$'${[...name].map((c) => `\\x${c.charCodeAt(0).toString(16)}`).join('')}'`,
    ),
  (command) => `X=1 ${command}`,
  (command) => `2>/dev/null ${command}`,
  (command) => command.replace(/^(\w+)/u, 'c=$1; $c'),
];

const around: ((command: string) => string)[] = [
  (command) => `{ ${command}; }`,
  (command) => `(${command})`,
  (command) => `! ${command}`,
  (command) => `if true; then ${command}; fi`,
  (command) => `if ${command}; then :; else ls; fi`,
  (command) => `while ${command}; do break; done`,
  (command) => `for i in 1 2; do ${command}; done`,
  (command) => `case a in a) ${command};; esac`,
  (command) => `f() { ${command}; }; f`,
  (command) => `echo $(${command})`,
  (command) => `echo "a $(${command}) b"`,
  (command) => `x=$(${command})`,
  (command) => `cat <(${command})`,
  (command) => `ls > >(${command})`,
  (command) => `cat <<EOF\n$(${command})\nEOF`,
  (command) => `cat <<< "$(${command})"`,
  (command) => `sh -c ${quoted(command)}`,
  (command) => `sudo bash -lc ${quoted(command)}`,
  (command) => `eval ${quoted(command)}`,
  (command) => `trap ${quoted(command)} EXIT`,
  (command) => `bash <<'EOF'\n${command}\nEOF`,
  (command) => `find . -maxdepth 0 -exec sh -c ${quoted(command)} \\;`,
  (command) => `echo x | xargs sh -c ${quoted(command)}`,
  (command) => `${command} # a comment`,
  (command) => `# a comment\n${command}`,
  (command) => `${command} &`,
  (command) => `${command}\nls`,
];

/** For a simple command without anything before or around it. */
const wrappers = [
  'sudo',
  'env',
  'env -i A=1',
  'nice -n 5',
  'timeout -k 1 5',
  'nohup',
  'stdbuf -oL',
  'command',
  'time',
  'setsid',
  'xargs',
  'exec',
];
const between = ['; ', ' && ', ' || ', ' | ', ' |& ', ' & ', '\n'];

type Made = { text: string; worst: number };

const simple: fc.Arbitrary<Made> = fc
  .tuple(fc.constantFrom(...SIMPLE), fc.constantFrom(...disguises), fc.subarray(wrappers, { maxLength: 3 }))
  .map(([command, disguise, wrapped]) => {
    const text = wrapped.length > 0 ? `${wrapped.join(' ')} ${command}` : disguise(command);
    return { text, worst: RANK[decide(command).decision] ?? 2 };
  });

const { composed } = fc.letrec<{ composed: Made }>((tie) => ({
  composed: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    simple,
    fc
      .tuple(tie('composed'), fc.constantFrom(...around))
      .map(([made, surround]) => ({ text: surround(made.text), worst: made.worst })),
    fc.tuple(tie('composed'), fc.constantFrom(...between), tie('composed')).map(([left, join, right]) => ({
      // What stands behind the end of a here-document has a line of its own.
      text:
        left.text.includes('EOF') || left.text.includes('#')
          ? `${left.text}\n${right.text}`
          : left.text + join + right.text,
      worst: Math.max(left.worst, right.worst),
    })),
  ),
}));

describe('a command made of others', () => {
  it('is never judged milder than one of them by itself', () => {
    fc.assert(
      fc.property(composed, ({ text, worst }) => {
        const { decision, findings } = decide(text);
        expect(RANK[decision], `${text}\n${JSON.stringify(findings)}`).toBeGreaterThanOrEqual(
          worst === 2 ? 1 : worst,
        );
      }),
      { numRuns: 1_500 },
    );
  });

  it('is not asked about when all of them are harmless and nothing hides them', () => {
    const plain = fc.array(fc.constantFrom('ls -la', 'echo hello', 'git status', 'npm test'), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(
        plain,
        fc.constantFrom(...between),
        fc.constantFrom(...around.slice(0, 16)),
        (commands, join, surround) => {
          const text = surround(commands.join(join));
          expect(decide(text).decision, text).toBe('allow');
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('a text that may be no command', () => {
  const pieces = fc.constantFrom(
    ...'$ ( ) { } [ ] < > | & ; " \' ` \\ # ! * ? ~ = : - \n \t 0 1 a rm -rf / /etc $( ${ $(( (( )) [[ ]] << <<EOF <<- EOF <<< >( <( &> >| ;; if then fi for in do done case esac while function x= x=( $x "$@" $\' é 😀'.split(
      ' ',
    ),
    ' ',
    ' ',
  );

  it('is judged, whatever it is', () => {
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
        expect(['allow', 'ask']).toContain(decide(parts.join('')).decision);
      }),
      { numRuns: 3_000 },
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        expect(['allow', 'ask']).toContain(decide(text).decision);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['far too long', 'ls '.repeat(40_000)],
    ['far too deep', `${'('.repeat(3_000)}ls${')'.repeat(3_000)}`],
    ['of too many commands', 'ls;'.repeat(5_000)],
    ['of too many words', 'echo {a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}'],
    ['of too many readings', `for a in 1 2 3 4 5 6 7 8 9; do echo $a$a $a$a $a$a $a$a; done; rm -rf $a`],
    ['of commands in commands in commands', `${'echo $('.repeat(60)}ls${')'.repeat(60)}`],
  ])('is asked about when it is %s', (_, text) => {
    expect(decide(text).decision).toBe('ask');
  });
});
