/**
 * Programs that run other programs, and programs that are given code: `sudo`, `xargs`, `find -exec`, `sh -c`, `eval`.
 *
 * Where the inner command begins depends on options that every program has its own of. Instead of a table of them,
 * which is wrong some day, every place is taken where it could begin: `timeout -k 5 10 rm x` is looked at as `5 10 rm
 * x`, `10 rm x` and `rm x`. What is no program harms nobody. Source: engine-runtime, "Permissions".
 */
import type { Deed, Inner, Stdin } from './deeds.ts';
import { isHarmlessAwk, isHarmlessSed } from './scripts.ts';
import { BELOW, isMarked, mayBeMore, TEXT, WORDS, type Word } from './words.ts';

type Found = Inner | Extract<Deed, { kind: 'danger' }>;

const code = (why: string): Found => ({ kind: 'danger', danger: 'inline_code', why });
const dark = (why: string): Found => ({ kind: 'danger', danger: 'unclear', why });

const SHELLS = /^(ba|da|a|z|k|mk|pdk|rba|fi|c|tc)?sh$/u;

/** What runs the command that stands behind its own options, and how many words stand before that. */
const BEFORE: Record<string, number> = {
  builtin: 0,
  busybox: 0,
  caffeinate: 0,
  catchsegv: 0,
  chroot: 1,
  chronic: 0,
  chrt: 1,
  command: 0,
  'dbus-run-session': 0,
  doas: 0,
  env: 0,
  exec: 0,
  fakeroot: 0,
  firejail: 0,
  flock: 1,
  ionice: 0,
  ltrace: 0,
  nice: 0,
  nohup: 0,
  nsenter: 0,
  numactl: 0,
  pkexec: 0,
  prlimit: 0,
  proxychains: 0,
  'run-parts': 0,
  runuser: 0,
  setarch: 1,
  setpriv: 0,
  setsid: 0,
  'start-stop-daemon': 0,
  stdbuf: 0,
  strace: 0,
  sudo: 0,
  'systemd-run': 0,
  taskset: 1,
  time: 0,
  timeout: 1,
  torsocks: 0,
  toybox: 0,
  unbuffer: 0,
  unshare: 0,
  valgrind: 0,
  'xvfb-run': 0,
  npx: 0,
  bunx: 0,
  pnpx: 0,
  uvx: 0,
};

/** The same, behind a word of their own: `npm exec`, `uv run`. */
const RUNNERS: Record<string, RegExp> = {
  npm: /^(exec|x)$/u,
  pnpm: /^(exec|dlx)$/u,
  yarn: /^(exec|dlx)$/u,
  bun: /^x$/u,
  uv: /^run$/u,
  poetry: /^run$/u,
  pipenv: /^run$/u,
  pipx: /^run$/u,
  bundle: /^exec$/u,
  conda: /^run$/u,
  mise: /^(exec|x)$/u,
  rye: /^run$/u,
};

/** Option that is followed by code, by interpreter; `eval` of a subcommand. */
const INTERPRETERS: [name: RegExp, option: RegExp][] = [
  [/^(python|pypy)[\d.]*$/u, /^-[a-zA-Z]*c/u],
  [/^(perl|ruby)[\d.]*$/u, /^-[a-zA-Z0-9]*[eE]/u],
  [/^(node|nodejs|bun|tsx|ts-node|deno)$/u, /^(-[a-z]*[ep]|--eval|--print|eval)(=|$)/u],
  [/^php[\d.]*$/u, /^-[rBRE]/u],
  [/^(lua|luajit)[\d.]*$/u, /^-e/u],
  [
    /^(Rscript|R|julia|groovy|ghc|elixir|erl|scala|clojure|guile|raku|swipl|octave)$/u,
    /^(-[eE]|--eval|-eval)/u,
  ],
  [/^(pwsh|powershell|osascript|tclsh|wish|jshell|irb|expect)$/u, /^-[a-zA-Z]*[ceE]/u],
];

export function innerOf(words: Word[], stdin: Stdin): Found[] {
  const [name = '', ...args] = words;
  if (SHELLS.test(name)) return shell(args, stdin);
  const interpreter = INTERPRETERS.find(([program]) => program.test(name));
  if (interpreter !== undefined) return interpreted(args, interpreter[1], stdin);

  const behind = Object.hasOwn(RUNNERS, name) ? RUNNERS[name] : undefined;
  if (behind !== undefined) {
    const at = args.findIndex((word) => behind.test(word));
    return at < 0 ? [] : candidates(args.slice(at + 1), 0);
  }
  switch (name) {
    case 'eval':
      return args.length === 0 ? [] : [{ kind: 'code', text: args.join(' ') }];
    case 'trap':
      return trap(args);
    case 'source':
    case '.':
      return args[0] === undefined ? [] : [{ kind: 'file', path: args[0] }];
    case 'alias':
      return args.some((word) => word.includes('=') || isMarked(word))
        ? [dark('it gives commands other names')]
        : [];
    case 'shopt':
      return args.some((word) => isMarked(word) || /^(expand_aliases|lastpipe|extglob)$/u.test(word))
        ? [dark('it changes how commands are read')]
        : [];
    case 'enable':
    case 'complete':
    case 'bind':
    case 'coproc':
      return [dark(`${name} is not followed`)];
    case 'hash':
      return args.some((word) => /^-[a-z]*p/u.test(word)) ? [dark('it gives commands other names')] : [];
    case 'command':
      return /^-[a-zA-Z]*[vV]/u.test(args[0] ?? '') ? [] : candidates(args, 0);
    case 'env':
      return env(args);
    case 'su':
    case 'script':
    case 'runuser':
    case 'nix-shell':
      return [
        ...codeOption(args, /^(-c|--command|--session-command|--run)(=|$)/u),
        ...(name === 'runuser' ? candidates(args, 0) : []),
      ];
    case 'flock':
      return [...codeOption(args, /^(-c|--command)(=|$)/u), ...candidates(args, 1)];
    case 'watch':
    case 'parallel':
    case 'entr':
    case 'hyperfine':
      return [...candidates(args, 0), ...joinedCode(name, args, stdin)];
    case 'at':
    case 'batch':
      return [dark('it runs something later')];
    case 'ssh':
    case 'mosh':
    case 'rsh':
      return [dark('it runs something on another machine')];
    case 'xargs':
      return xargs(args);
    case 'find':
      return find(args);
    case 'fd':
    case 'fdfind':
      return execOf(args, /^(-x|-X|--exec|--exec-batch)$/u, `./${BELOW}`);
    case 'git':
      return git(args);
    case 'awk':
    case 'gawk':
    case 'mawk':
    case 'nawk':
      return awk(args);
    case 'sed':
    case 'gsed':
      return sed(args);
    case 'rename':
    case 'prename':
      return isHarmlessSed(args.find((word) => !word.startsWith('-')) ?? '') ? [] : [code('code in a name')];
    case 'tar':
    case 'bsdtar':
      return coded(
        args,
        /^(--to-command|--checkpoint-action|--use-compress-program|--rsh-command|--info-script|--new-volume-script|-[a-zA-Z]*[IF])/u,
      );
    case 'rsync':
      return coded(args, /^(-[a-zA-Z]*e|--rsh|--rsync-path)/u);
    case 'rg':
      return coded(args, /^--(pre|hostname-bin)(=|$)/u);
    case 'sort':
      return coded(args, /^--compress-program/u);
    case 'zip':
      return coded(args, /^(-TT|--unzip-command)/u);
    case 'man':
      return coded(args, /^(-P|--pager|-H|--html)/u);
    case 'nc':
    case 'ncat':
    case 'netcat':
      return coded(args, /^(-[a-z]*[ec]|--exec|--sh-exec|--lua-exec)/u);
    case 'socat':
      return args.some((word) => isMarked(word) || /(EXEC|SYSTEM|SHELL):/iu.test(word))
        ? [code('it runs programs')]
        : [];
    case 'gdb':
    case 'lldb':
      return coded(args, /^(-ex|-iex|-x|--eval-command|--command|-o|-s)/u);
    case 'vi':
    case 'vim':
    case 'nvim':
    case 'ex':
    case 'ed':
    case 'emacs':
    case 'view':
      return [
        ...coded(args, /^(-[a-zA-Z]*[cSes]|\+|--cmd|--eval|--load|-l)/u),
        ...(stdin.kind === 'inherited' ? [] : [code('it reads commands')]),
      ];
    case 'sqlite3':
      return args.some(
        (word) =>
          isMarked(word) ||
          /\.(shell|system|import|load|once|output|read|excel)|edit\(|writefile|load_extension/iu.test(word),
      ) || stdin.kind !== 'inherited'
        ? [code('it is given commands')]
        : [];
    case 'make':
    case 'gmake':
      return args.some((word) => /^(--eval|SHELL=|-f-$)/u.test(word)) ||
        / -f -( |$)/u.test(` ${args.join(' ')}`)
        ? [code('a makefile that is given with it')]
        : [];
    default:
      return Object.hasOwn(BEFORE, name) ? candidates(args, BEFORE[name] ?? 0, true) : [];
  }
}

/** Every place where a command may begin, `before` words of the program's own in front of it, and maybe variables. */
function candidates(args: Word[], before: number, variables = false): Found[] {
  const found: Found[] = [];
  let left = before;
  if (args.some((word) => /^(-C|-D|--chdir)(=|$)/u.test(word) || /^-[CD]./u.test(word)) && variables) {
    found.push(dark('it may run in another folder'));
  }
  for (const [at, word] of args.entries()) {
    if (mayBeMore(word)) return [...found, dark('which command it runs is not known')];
    const is_option = /^[-+]/u.test(word) || (variables && /^\w+=/u.test(word));
    const may_be_value = /^[-+]/u.test(args[at - 1] ?? '') && args[at - 1] !== '--';
    if (!is_option || word.length === 1) found.push({ kind: 'command', words: args.slice(at) });
    if (is_option || may_be_value) continue;
    if (left-- === 0) break;
  }
  return found;
}

function env(args: Word[]): Found[] {
  const found: Found[] = [];
  for (const [at, word] of args.entries()) {
    if (/^(-[a-zA-Z0]*S|--split-string)/u.test(word)) {
      const value = word.replace(/^(-[a-zA-Z0]*S|--split-string)=?/u, '');
      return [{ kind: 'code', text: [value, ...args.slice(at + 1)].join(' ') }];
    }
    const [, name] = /^(\w+)=/u.exec(word) ?? [];
    if (name === undefined) continue;
    if (/^(LD_|DYLD_|BASH_|ENV$|GIT_|PERL5|PYTHONSTARTUP|NODE_OPTIONS|.*PAGER$|.*EDITOR$)/u.test(name)) {
      found.push(dark(`${name} changes what other programs do`));
    }
  }
  return [...found, ...candidates(args, 0, true)];
}

function shell(args: Word[], stdin: Stdin): Found[] {
  let takes_code = false;
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? '';
    if (mayBeMore(word)) return [dark('what the shell is given is not known')];
    if (/^--(rcfile|init-file)/u.test(word)) return [dark('a shell with a start file of its own')];
    if (/^--./u.test(word)) continue;
    if (word === '--' || word === '-') {
      at++;
    } else if (/^[-+]./u.test(word)) {
      if (/^-[a-zA-Z]*c/u.test(word)) takes_code = true;
      if (/^[-+][a-zA-Z]*[oO]$/u.test(word)) at++;
      if (/^-[a-zA-Z]*s/u.test(word) && !takes_code) break;
      continue;
    }
    const operand = args[at];
    if (operand === undefined) break;
    return [takes_code ? { kind: 'code', text: operand } : { kind: 'file', path: operand }];
  }
  if (takes_code || args.some((word) => /^--(version|help)$/u.test(word))) return [];
  if (stdin.kind === 'text') return [{ kind: 'code', text: stdin.text }];
  return stdin.kind === 'unknown' ? [dark('what is piped into the shell is not known')] : [];
}

function interpreted(args: Word[], option: RegExp, stdin: Stdin): Found[] {
  for (const [at, word] of args.entries()) {
    if (mayBeMore(word)) return [dark('what the interpreter is given is not known')];
    if (option.test(word)) return [code('code on the command line')];
    // A module of its own, not a script.
    if (word === '-m') return [];
    if (/^-./u.test(word)) continue;
    if (word === '-' || word === '/dev/stdin')
      return stdin.kind === 'inherited' ? [] : [code('code from its input')];
    if (/^(run|test|install|task|add|check|fmt|lint|compile|build|create|init|upgrade|watch)$/u.test(word))
      return [];
    const [next] = args.slice(at + 1).filter((other) => option.test(other) && /^(eval)$/u.test(word));
    return next === undefined ? [{ kind: 'file', path: word }] : [code('code on the command line')];
  }
  const only_asks = args.some((word) => /^(-V|-v|--version|-h|--help|-\?)$/u.test(word));
  return stdin.kind === 'inherited' || only_asks ? [] : [code('code from its input')];
}

function trap(args: Word[]): Found[] {
  const [action, ...signals] = args.filter((word) => word !== '--');
  if (action === undefined || signals.length === 0 || /^-($|[lp])/u.test(action)) return [];
  return [{ kind: 'code', text: action }];
}

/** The value of an option that is code: `-c code`, `--command=code`. */
function codeOption(args: Word[], option: RegExp): Found[] {
  const at = args.findIndex((word) => option.test(word) || mayBeMore(word));
  const found = args[at];
  if (found === undefined) return [];
  if (mayBeMore(found)) return [dark('what it runs is not known')];
  const value = found.includes('=') ? found.slice(found.indexOf('=') + 1) : args[at + 1];
  return value === undefined ? [] : [{ kind: 'code', text: value }];
}

const coded = (args: Word[], option: RegExp): Found[] =>
  args.some((word) => mayBeMore(word) || option.test(word)) && args.some((word) => option.test(word))
    ? [code('an option that runs a program')]
    : [];

/** What these are given is put together and read by a shell. */
function joinedCode(name: string, args: Word[], stdin: Stdin): Found[] {
  if (name === 'entr') return [];
  const from = args.findIndex((word, at) => !/^-/u.test(word) && !/^-[nNtjPdI]$/u.test(args[at - 1] ?? ''));
  if (from < 0) return stdin.kind === 'inherited' ? [] : [dark('which commands it runs is not known')];
  const text = args.slice(from);
  if (name === 'parallel') {
    const end = text.findIndex((word) => /^:::/u.test(word));
    const command = (end < 0 ? text : text.slice(0, end)).join(' ');
    return [dark(`what it runs, again and again, is put together while it runs: ${command.slice(0, 100)}`)];
  }
  return [{ kind: 'code', text: text.join(' ') }];
}

function xargs(args: Word[]): Found[] {
  const at = args.findIndex((word) => /^(-I|-i|--replace)/u.test(word));
  const option = args[at] ?? '';
  const replaced =
    at < 0
      ? undefined
      : (/^(?:-I|-i|--replace=?)(.+)$/u.exec(option)?.[1] ?? (option === '-I' ? args[at + 1] : '{}'));
  return candidates(args, 0).map((found) => {
    if (found.kind !== 'command') return found;
    const words =
      replaced === undefined
        ? [...found.words, WORDS]
        : found.words.map((word) => word.replaceAll(replaced, TEXT));
    return { kind: 'command', words, stdin: { kind: 'inherited' } };
  });
}

/** Where `find` looks, and whether it takes everything there. */
export function findPlaces(args: Word[]): { places: Word[]; takes_all: boolean; follows: boolean } {
  const from = args.findIndex((word) => !/^-[HLPOD]/u.test(word));
  const rest = from < 0 ? [] : args.slice(from);
  const end = rest.findIndex((word) => /^[-(!]/u.test(word) || mayBeMore(word));
  const places = end < 0 ? rest : rest.slice(0, end);
  const filter =
    /^-(i?name|i?path|i?regex|i?wholename|type|size|empty|newer.*|[acm](time|min)|user|group|perm|links|inum|samefile|i?lname|mindepth|executable|maxdepth)$/u;
  const filters = rest.filter(
    (word, at) => filter.test(word) && !/^\uE000*$/u.test(rest[at + 1] ?? '') && rest[at + 1] !== '*',
  );
  return {
    places: places.length === 0 ? ['.'] : places,
    // What stands beside an `or` or a `not` may let everything through.
    takes_all: filters.length === 0 || rest.some((word) => /^(-o|-or|,|!|-not)$/u.test(word)),
    follows: args.some((word) => /^(-L|-follow|-files0-from)$/u.test(word)) || args.some(mayBeMore),
  };
}

function find(args: Word[]): Found[] {
  const { places, takes_all, follows } = findPlaces(args);
  const found: Found[] = [];
  if (args.some(mayBeMore)) found.push(dark('what find is to do is not known'));
  for (const place of places) {
    found.push(
      ...execOf(
        args,
        /^-(exec|execdir|ok|okdir)$/u,
        follows ? TEXT : takes_all ? place : `${place}/${BELOW}`,
      ),
    );
  }
  return found;
}

/** Commands behind `option`, up to `;` or `+`, with `{}` as `path`. */
function execOf(args: Word[], option: RegExp, path: Word): Found[] {
  const found: Found[] = [];
  for (const [at, word] of args.entries()) {
    if (!option.test(word)) continue;
    const rest = args.slice(at + 1);
    const end = rest.findIndex(
      (other, index) => other === ';' || (other === '+' && rest[index - 1] === '{}'),
    );
    const words = end < 0 ? rest : rest.slice(0, end);
    const placed = words.map((other) => other.replace(/\{(|\/|\.|\/\/|\/\.)\}/gu, path));
    found.push({
      kind: 'command',
      words: words.some((other) => other.includes('{')) ? placed : [...placed, path],
    });
  }
  return found;
}

const SAFE_GIT_SETTING =
  /^(user\.(name|email|signingkey)|color\..*|core\.(quotepath|autocrlf|eol|filemode|ignorecase|longpaths|abbrev|bare|safecrlf|whitespace)|advice\..*|init\.defaultbranch|commit\.gpgsign|tag\.gpgsign|pull\.(rebase|ff)|push\.(default|autosetupremote)|merge\.(conflictstyle|ff)|rebase\.(autostash|autosquash)|fetch\.prune|log\..*|diff\.(renames|algorithm|colormoved|noprefix)|safe\.directory|http\.(postbuffer|version|sslverify)|gc\.auto|branch\..*|remote\..*\.(url|fetch)|protocol\.version|status\..*|help\..*|i18n\..*|feature\..*|submodule\.(recurse|fetchjobs)|grep\..*|column\..*|blame\..*)(=|$)/iu;

function git(args: Word[]): Found[] {
  const found: Found[] = [];
  const at = gitSubcommand(args);
  const own = args.slice(0, Math.max(at, 0));
  const [subcommand = '', ...rest] = at < 0 ? [] : args.slice(at);
  if (own.some(mayBeMore) || isMarked(subcommand)) return [dark('what git is to do is not known')];
  own.forEach((word, index) => {
    const setting = word === '-c' ? (own[index + 1] ?? '') : undefined;
    if (setting !== undefined && !SAFE_GIT_SETTING.test(setting))
      found.push(code('a setting that may run a program'));
    if (/^--(exec-path=|config-env)/u.test(word)) found.push(code('a setting that may run a program'));
  });
  switch (subcommand) {
    case 'config': {
      const operands = rest.filter((word) => !word.startsWith('-') && !/^(set|get|list|unset)$/u.test(word));
      const changes =
        operands.length > 1 ||
        rest.some((word) => /^--(edit|add|replace-all|rename-section)|^-e$/u.test(word));
      if (changes && !SAFE_GIT_SETTING.test(operands[0] ?? ''))
        found.push(code('a setting that may run a program'));
      return found;
    }
    case 'rebase':
      return [...found, ...codeOption(rest, /^(-x|--exec)(=|$)/u)];
    case 'submodule':
    case 'for-each-repo': {
      const from = rest.indexOf('foreach');
      if (from >= 0)
        found.push({
          kind: 'code',
          text: rest
            .slice(from + 1)
            .filter((word) => !/^--/u.test(word))
            .join(' '),
        });
      return found;
    }
    case 'bisect':
      return rest[0] === 'run' ? [...found, ...candidates(rest.slice(1), 0)] : found;
    case 'filter-branch':
      return [...found, code('filters that are run')];
    case 'difftool':
    case 'mergetool':
    case 'grep':
      return [...found, ...coded(rest, /^(-x|--extcmd|-O|--open-files-in-pager)/u)];
    case 'fetch':
    case 'clone':
    case 'pull':
    case 'push':
    case 'ls-remote':
    case 'archive':
      return [
        ...found,
        ...coded(rest, /^(--upload-pack|--receive-pack|--exec|-u$)/u).filter(
          () =>
            subcommand !== 'push' ||
            !rest.includes('-u') ||
            rest.some((word) => /^--(receive-pack|exec)/u.test(word)),
        ),
        ...(rest.some((word) => /^ext::/u.test(word)) ? [code('an address that runs a program')] : []),
        ...(rest.some(
          (word, index) =>
            (word === '-c' || word === '--config') &&
            subcommand === 'clone' &&
            !SAFE_GIT_SETTING.test(rest[index + 1] ?? ''),
        )
          ? [code('a setting that may run a program')]
          : []),
      ];
    default:
      return found;
  }
}

/** Where the word stands that says what git is to do; -1 where there is none. */
export function gitSubcommand(args: Word[]): number {
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? '';
    if (/^(-c|-C|--git-dir|--work-tree|--namespace|--exec-path|--super-prefix|--config-env)$/u.test(word))
      at++;
    else if (!word.startsWith('-')) return at;
  }
  return -1;
}

function awk(args: Word[]): Found[] {
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? '';
    if (mayBeMore(word)) return [code('an awk program that is not known')];
    if (/^(-f|--file|-i|--include|-l|--load)$/u.test(word)) {
      const path = args[at + 1];
      return path === undefined ? [] : [{ kind: 'file', path }];
    }
    if (/^(-e|--source)$/u.test(word))
      return isHarmlessAwk(args[at + 1] ?? '') ? [] : [code('an awk program that does more than print')];
    if (/^-[vF]$/u.test(word)) at++;
    else if (!/^-./u.test(word))
      return isHarmlessAwk(word) ? [] : [code('an awk program that does more than print')];
  }
  return [];
}

function sed(args: Word[]): Found[] {
  const scripts: Word[] = [];
  let operand: Word | undefined;
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? '';
    if (mayBeMore(word)) return [code('a sed script that is not known')];
    if (/^(-[a-zA-Z]*f|--file)/u.test(word)) return [code('a sed script in a file')];
    const [, inline] = /^(?:-[nrEsuz]*e|--expression=)(.*)$/su.exec(word) ?? [];
    if (inline !== undefined) scripts.push(inline === '' ? (args[++at] ?? '') : inline);
    else if (!/^-./u.test(word)) operand ??= word;
  }
  const all = scripts.length > 0 ? scripts : [operand ?? ''];
  return all.every(isHarmlessSed) ? [] : [code('a sed script that may do more than edit')];
}
