/**
 * What well-known programs delete, write, connect to or change, as told by their words.
 *
 * A program that is not here does nothing that a rule knows: it runs in the sandbox like all of them, and that holds
 * it. Here are those that can destroy what the sandbox lets them reach, and those whose paths a person has to open.
 * Source: engine-runtime, "Permissions".
 */
import { posix } from 'node:path';
import { type Deed, unclear } from './deeds.ts';
import { BELOW, isMarked, isUnknown, mayBeMore, TEXT, type Word } from './words.ts';
import { findPlaces, gitSubcommand } from './wrappers.ts';

type Read = (args: Word[], name: string) => Deed[];

export function deedsOf([name = '', ...args]: Word[]): Deed[] {
  const read = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined;
  if (read !== undefined) return read(args, name);
  return /^(mkfs|fsck|newfs|mke2fs|mkdosfs)/u.test(name) ? danger('disk') : [];
}

const danger = (what: Extract<Deed, { kind: 'danger' }>['danger'], why?: string): Deed[] => [
  { kind: 'danger', danger: what, ...(why !== undefined && { why }) },
];
const write = (paths: Word[], how: 'create' | 'replace' | 'empty' = 'create'): Deed[] =>
  paths.map((path) => ({ kind: 'write', path, how }));
const remove = (paths: Word[], whole: boolean): Deed[] =>
  paths.map((path) => ({ kind: 'delete', path, whole }));

/** Words that are no options; `valued` options take the word behind them. */
function operands(args: Word[], valued = /^$/u): Word[] {
  const found: Word[] = [];
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? '';
    if (word === '--') return [...found, ...args.slice(at + 1)];
    if (valued.test(word)) at++;
    else if (!/^-./u.test(word)) found.push(word);
  }
  return found;
}

/** One letter among others (`-rf`), or a long name. */
const has = (args: Word[], letters: string, ...long: string[]) =>
  args.some(
    (word) =>
      new RegExp(`^-[a-zA-Z0-9]*[${letters}]`, 'u').test(word) ||
      // A long option may be cut short.
      long.some(
        (name) => word.length > 4 && word.startsWith('--') && name.startsWith(word.split('=')[0] ?? ''),
      ),
  );

/** What stands behind an option, also in one word with it. */
function valuesOf(args: Word[], option: RegExp): Word[] {
  return args.flatMap((word, at) => {
    const [matched] = option.exec(word) ?? [];
    if (matched === undefined) return [];
    const rest = word.slice(matched.length).replace(/^=/u, '');
    const value = rest === '' ? args[at + 1] : rest;
    return value === undefined ? [] : [value];
  });
}

const isNothing = (path: Word | undefined) => path === '/dev/null' || path === '/dev/zero';

/** `cp`, `mv`, `install`, `ln`: sources, then where to; or `-t` where to. */
function sourcesAndTarget(args: Word[], valued: RegExp): { sources: Word[]; target: Word | undefined } {
  const [folder] = valuesOf(args, /^(-t|--target-directory)/u);
  const words = operands(args, valued);
  return folder === undefined
    ? { sources: words.slice(0, -1), target: words.at(-1) }
    : { sources: words, target: folder };
}

const COPY_OPTIONS = /^(-t|-S|-m|-o|-g|--target-directory|--suffix|--mode|--owner|--group)$/u;

function copied(args: Word[]): Deed[] {
  const { sources, target } = sourcesAndTarget(args, COPY_OPTIONS);
  if (target === undefined) return args.some(mayBeMore) ? [unclear('what is copied where is not known')] : [];
  // A new name is often made of the old one, and then not known here.
  const keeps = has(args, 'n', '--no-clobber') || isUnknown(target);
  const how = sources.some(isNothing) ? 'empty' : keeps ? 'create' : 'replace';
  return write([target], how);
}

function moved(args: Word[]): Deed[] {
  const { sources } = sourcesAndTarget(args, COPY_OPTIONS);
  return [
    ...remove(
      sources.filter((source) => !isUnknown(source)),
      true,
    ),
    ...copied(args),
  ];
}

function linked(args: Word[]): Deed[] {
  const { sources, target } = sourcesAndTarget(args, COPY_OPTIONS);
  const [to] = sources;
  if (target === undefined) return [];
  if (to === undefined) return [{ kind: 'link', path: posix.basename(target), to: target }];
  return sources.map((source) => ({ kind: 'link', path: target, to: source }));
}

function removed(args: Word[]): Deed[] {
  return remove(operands(args), has(args, 'rR', '--recursive'));
}

/** `chmod 644 file`, `chown me file`. */
function modes(args: Word[]): Deed[] {
  const changed = args.some((word) => /^--reference/u.test(word)) ? operands(args) : operands(args).slice(1);
  const modeless = /^-[rwxXstugoa]+$/u;
  const recursive =
    args.some((word) => /^-[a-zA-Z]*R/u.test(word) || /^--rec/u.test(word)) || args.some(mayBeMore);
  const paths = args.some((word) => modeless.test(word)) ? operands(args) : changed;
  return [...(recursive ? danger('change_modes') : []), ...write(paths)];
}

function dd(args: Word[]): Deed[] {
  const value = (name: string) => args.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1);
  const to = value('of');
  if (to === undefined) return args.some(mayBeMore) ? [unclear('where dd writes is not known')] : [];
  if (to.startsWith('/dev/') && !isNothing(to)) return danger('disk');
  return write([to], isNothing(value('if')) ? 'empty' : 'replace');
}

function found(args: Word[]): Deed[] {
  const { places, takes_all, follows } = findPlaces(args);
  const deeds = write(valuesOf(args, /^-(fprint0?|fprintf|fls)$/u), 'replace');
  if (!args.includes('-delete')) return deeds;
  const paths = follows ? [TEXT] : takes_all ? places : places.map((place) => `${place}/${BELOW}`);
  return [...deeds, ...remove(paths, takes_all)];
}

/** `https://host:1/x`, `me@host:x`; undefined for what names no host. */
function hostOf(word: Word): Word | undefined {
  const url = /^[a-z][a-z0-9+.-]*:\/\/(?:[^/@\s]*@)?(\[[^\]]*\]|[^/:?#\s]+)/iu.exec(word);
  const place = url ?? /^(?:[\w.-]+@)([\w.-]+)(?::|$)/u.exec(word) ?? /^([\w-]+(?:\.[\w-]+)+):/u.exec(word);
  return place?.[1]?.toLowerCase().replace(/^\[|\]$/gu, '');
}

const connect = (hosts: (Word | undefined)[]): Deed[] =>
  hosts.flatMap((host) => (host === undefined || host === '' ? [] : [{ kind: 'connect', host }]));

function download(args: Word[], name: string): Deed[] {
  const is_curl = name === 'curl';
  const paths = valuesOf(args, is_curl ? /^(-[a-zA-Z]*o|--output$)/u : /^(-O|--output-document)/u);
  const folders = valuesOf(args, is_curl ? /^--output-dir/u : /^(-P|--directory-prefix)/u);
  const bare = args.filter(
    (word, at) => /^[\w-]+(\.[\w-]+)+(:\d+)?([/?]|$)/u.test(word) && !/^-/u.test(args[at - 1] ?? ''),
  );
  const hosts = [...args.map(hostOf), ...bare.map((word) => word.split(/[/:?]/u)[0]?.toLowerCase())];
  return [
    ...write(
      paths.filter((path) => path !== '-'),
      'replace',
    ),
    ...write(folders),
    ...connect([...new Set(hosts)]),
    ...(has(args, 'K', '--config') && is_curl ? danger('inline_code', 'settings from a file') : []),
    ...(!is_curl && args.some((word) => /^(-e$|--execute|--use-askpass)/u.test(word))
      ? danger('inline_code', 'an option that is a setting')
      : []),
  ];
}

function remoteCopy(args: Word[], name: string): Deed[] {
  const words = operands(args, /^(-e|-P|-i|-F|-J|-o|-l|-S|-c|--rsh|--exclude|--include|--filter|-f)$/u);
  const target = words.at(-1);
  const is_remote = (word: Word) => hostOf(word) !== undefined;
  const deeds = connect(words.map(hostOf));
  if (target === undefined || is_remote(target)) return deeds;
  const deletes = name === 'rsync' && args.some((word) => /^--(delete|remove)/u.test(word));
  if (deletes) deeds.push(...remove(args.some((word) => /^--remove/u.test(word)) ? words : [target], true));
  return [...deeds, ...write([target], name === 'rsync' ? 'create' : 'replace')];
}

function archive(args: Word[]): Deed[] {
  const [first = ''] = args;
  const letters =
    args.filter((word) => /^-[a-zA-Z]/u.test(word)).join('') + (first.startsWith('-') ? '' : first);
  const file = valuesOf(args, /^(-[a-zA-Z]*f|--file)/u);
  const bundled = !first.startsWith('-') && first.includes('f') ? args.slice(1, 2) : [];
  const folders = valuesOf(args, /^(-C|--directory)/u);
  const deeds: Deed[] = [];
  const extracts = letters.includes('x') || args.some((word) => /^--(extract|get)/u.test(word));
  const creates = letters.includes('c') || args.some((word) => /^--create/u.test(word));
  if (extracts) deeds.push(...write(folders));
  if (extracts && (letters.includes('P') || args.some((word) => /^--absolute/u.test(word)))) {
    deeds.push(unclear('it may write anywhere'));
  }
  if (creates && !extracts)
    deeds.push(
      ...write(
        [...file, ...bundled].filter((path) => path !== '-'),
        'replace',
      ),
    );
  if (args.some((word) => /^--(remove-files|recursive-unlink|unlink-first)/u.test(word))) {
    deeds.push(...remove(operands(args, /^(-C|-f|--file|--directory)$/u), true));
  }
  return deeds;
}

function git(args: Word[]): Deed[] {
  const at = gitSubcommand(args);
  const [subcommand, ...rest] = at < 0 ? [] : args.slice(at);
  const words = operands(rest);
  const lost = (is_lost: boolean) => (is_lost ? danger('lost_work') : []);
  if (
    rest.some(mayBeMore) &&
    /^(push|clean|reset|branch|stash|checkout|restore|reflog|tag|worktree)$/u.test(subcommand ?? '')
  ) {
    return [unclear('what git is to do is not known')];
  }
  switch (subcommand) {
    case 'push':
      return [
        ...lost(
          rest.some((word) => /^(--force|--mirror|--delete|--prune)|^-[a-zA-Z]*[fd]|^\+|^:./u.test(word)),
        ),
        ...connect(words.map(hostOf)),
      ];
    case 'clean':
      return lost(!has(rest, 'n', '--dry-run') && has(rest, 'fdxX', '--force'));
    case 'reset':
      return lost(rest.some((word) => /^--(hard|merge|keep)/u.test(word)));
    case 'checkout':
    case 'restore':
    case 'switch':
      return lost(
        rest.some((word) => word === '.' || word === ':/' || word === '*' || /^\uE000/u.test(word)) ||
          has(rest, 'f', '--force', '--discard-changes'),
      );
    case 'branch':
      return lost(
        rest.some((word) => /^-[a-zA-Z]*[DM]/u.test(word)) ||
          (has(rest, 'd', '--delete') && has(rest, 'f', '--force')),
      );
    case 'stash':
      return lost(/^(drop|clear)$/u.test(words[0] ?? ''));
    case 'reflog':
      return lost(/^(expire|delete)$/u.test(words[0] ?? ''));
    case 'gc':
    case 'prune':
      return lost(subcommand === 'prune' || rest.some((word) => /^--prune/u.test(word)));
    case 'update-ref':
    case 'tag':
      return lost(has(rest, subcommand === 'tag' ? 'f' : 'd', '--force'));
    case 'filter-repo':
    case 'filter-branch':
      return danger('lost_work');
    case 'rm': {
      const is_elsewhere = args.slice(0, at).some((word) => /^(-C|--work-tree|--git-dir)/u.test(word));
      return remove(is_elsewhere ? [TEXT] : words, has(rest, 'r'));
    }
    case 'worktree':
      return words[0] === 'remove' ? lost(has(rest, 'f', '--force')) : write(words.slice(1, 2));
    case 'clone':
      return [...connect(words.slice(0, 1).map(hostOf)), ...write(words.slice(1, 2))];
    case 'init':
      return write(words);
    case 'fetch':
    case 'pull':
    case 'ls-remote':
      return connect(words.map(hostOf));
    case 'remote':
    case 'submodule':
      return /^add$/u.test(words[0] ?? '') ? connect(words.map(hostOf)) : [];
    default:
      return [];
  }
}

/** `kill -9 -1` ends all there is; `kill -1 123` sends signal 1. */
function killed(args: Word[]): Deed[] {
  const [first = '', ...rest] = args;
  const sends = /^-/u.test(first) && rest.length > 0;
  const targets = sends ? rest.filter((_, at) => !(at === 0 && /^(-s|-n|--signal)$/u.test(first))) : args;
  return targets.some((word) => /^-1$|^1$|^-?0$/u.test(word) || (word === '--' && rest.includes('-1')))
    ? danger('system')
    : [];
}

const first =
  (pattern: RegExp, what: 'publish' | 'system' | 'lost_work'): Read =>
  (args) =>
    pattern.test(operands(args).slice(0, 3).join(' ')) || (args.some(mayBeMore) && what === 'lost_work')
      ? danger(what)
      : [];

const all =
  (what: 'shred' | 'disk' | 'system' | 'lost_work'): Read =>
  () =>
    danger(what);

/** Asked about unless all it is told is to show. */
const unless =
  (pattern: RegExp, what: 'system' | 'disk'): Read =>
  (args) =>
    pattern.test(args.join(' ')) ? [] : danger(what);

const visits: Read = (args) => {
  const [host] = operands(args, /^-[a-zA-Z]$/u);
  return connect([host === undefined ? undefined : (hostOf(host) ?? host)]);
};

const PROGRAMS: Record<string, Read> = {
  rm: removed,
  rimraf: (args) => remove(operands(args), true),
  'del-cli': (args) => remove(operands(args), true),
  trash: (args) => remove(operands(args), true),
  rmdir: (args) => remove(operands(args), false),
  unlink: (args) => remove(operands(args), false),
  cp: copied,
  install: copied,
  mv: moved,
  ln: linked,
  link: linked,
  tee: (args) => write(operands(args), has(args, 'a', '--append') ? 'create' : 'replace'),
  sponge: (args) => write(operands(args), has(args, 'a') ? 'create' : 'replace'),
  touch: (args) => write(operands(args, /^(-d|-t|-r|--date|--reference)$/u)),
  mkdir: (args) => write(operands(args, /^(-m|--mode)$/u)),
  mkfifo: (args) => write(operands(args, /^(-m|--mode)$/u)),
  mknod: all('disk'),
  truncate: (args) =>
    write(
      operands(args, /^(-s|-r|--size|--reference)$/u),
      valuesOf(args, /^(-s|--size)/u).includes('0') ? 'empty' : 'replace',
    ),
  dd,
  shred: all('shred'),
  wipe: all('shred'),
  srm: all('shred'),
  scrub: all('shred'),
  chmod: modes,
  chown: modes,
  chgrp: modes,
  setfacl: modes,
  chattr: modes,
  find: found,
  sed: (args) =>
    args.some((word) => /^(-[a-zA-Z]*i|--in-place)/u.test(word))
      ? write(
          args.some((word) => /^(-[nrEsuz]*e|--expression|-f)/u.test(word))
            ? operands(args, /^(-[a-zA-Z]*[ef])$/u)
            : operands(args).slice(1),
        )
      : [],
  sort: (args) => write(valuesOf(args, /^(-[a-zA-Z]*o|--output)/u), 'replace'),
  tar: archive,
  bsdtar: archive,
  unzip: (args) => write(valuesOf(args, /^-d/u)),
  '7z': (args) => write(valuesOf(args, /^-o/u)),
  rsync: remoteCopy,
  scp: remoteCopy,
  curl: download,
  wget: download,
  ftp: visits,
  sftp: visits,
  ssh: visits,
  telnet: visits,
  nc: visits,
  ncat: visits,
  netcat: visits,
  ping: visits,
  git,
  kill: killed,
  killall: (args) => (args.includes('-u') || args.some(isMarked) ? danger('system') : []),
  pkill: (args) =>
    args.includes('-u') || args.some((word) => word === '.' || isMarked(word)) ? danger('system') : [],

  fdisk: unless(/(^| )(-l|--list)/u, 'disk'),
  sfdisk: unless(/(^| )(-l|--list|-d)/u, 'disk'),
  parted: unless(/(^| )(-l|--list|print)/u, 'disk'),
  sgdisk: all('disk'),
  wipefs: all('disk'),
  blkdiscard: all('disk'),
  mkswap: all('disk'),
  swapoff: all('disk'),
  losetup: all('disk'),
  cryptsetup: all('disk'),
  hdparm: all('disk'),
  lvremove: all('disk'),
  vgremove: all('disk'),
  pvremove: all('disk'),
  zpool: unless(/^(list|status|get)/u, 'disk'),
  mount: unless(/^$/u, 'disk'),
  umount: all('disk'),
  debugfs: all('disk'),

  shutdown: all('system'),
  reboot: all('system'),
  halt: all('system'),
  poweroff: all('system'),
  init: all('system'),
  telinit: all('system'),
  kexec: all('system'),
  chroot: all('system'),
  unshare: all('system'),
  nsenter: all('system'),
  pivot_root: all('system'),
  insmod: all('system'),
  rmmod: all('system'),
  modprobe: all('system'),
  sysctl: (args) => (args.some((word) => /^-[a-zA-Z]*[wp]|=/u.test(word)) ? danger('system') : []),
  systemctl: unless(/^(--?[\w-]+ )*(status|list|show|is-|cat)/u, 'system'),
  service: unless(/ status$|--status-all/u, 'system'),
  crontab: unless(/^-l$/u, 'system'),
  iptables: unless(/^(-L|-S)/u, 'system'),
  ip6tables: unless(/^(-L|-S)/u, 'system'),
  nft: unless(/^list/u, 'system'),
  ufw: unless(/^status/u, 'system'),
  useradd: all('system'),
  userdel: all('system'),
  usermod: all('system'),
  groupadd: all('system'),
  groupdel: all('system'),
  passwd: all('system'),
  chpasswd: all('system'),
  visudo: all('system'),
  setcap: all('system'),

  npm: first(/^(publish|unpublish|deprecate|dist-tag|owner|access|token)/u, 'publish'),
  pnpm: first(/^(publish|unpublish)/u, 'publish'),
  yarn: first(/^(publish|npm publish)/u, 'publish'),
  cargo: first(/^(publish|yank|owner)/u, 'publish'),
  gem: first(/^(push|yank|owner)/u, 'publish'),
  twine: first(/^upload/u, 'publish'),
  poetry: first(/^publish/u, 'publish'),
  uv: first(/^publish/u, 'publish'),
  mvn: first(/(^| )(deploy|release)/u, 'publish'),
  gh: first(
    /^(repo (delete|archive|rename|edit)|release (create|delete|upload)|pr (merge|close)|issue (delete|close)|secret|api)/u,
    'publish',
  ),
  docker: (args) => dockers(args),
  podman: (args) => dockers(args),
  kubectl: first(/^(delete|apply|drain|cordon|replace|patch|scale|edit|rollout|exec)/u, 'publish'),
  helm: first(/^(install|upgrade|uninstall|delete|rollback)/u, 'publish'),
  terraform: first(/^(apply|destroy|import|taint|state)/u, 'publish'),
  tofu: first(/^(apply|destroy|import|taint|state)/u, 'publish'),
  aws: first(/(^| )(rm|rb|mv|cp|sync|delete|terminate|put|create|update)/u, 'publish'),
  gcloud: first(/(delete|create|update|deploy)/u, 'publish'),
  gsutil: first(/^(-m )?(rm|rb|mv|cp|rsync)/u, 'publish'),
  dropdb: all('lost_work'),
  'redis-cli': first(/flush(all|db)/iu, 'lost_work'),
  history: () => [],
};

function dockers(args: Word[]): Deed[] {
  const words = operands(args).slice(0, 2).join(' ');
  if (/^(push|image push|manifest push)/u.test(words)) return danger('publish');
  if (
    /^(\w+ prune|rm|rmi|volume rm|system|container rm|image rm)/u.test(words) &&
    !/^system (df|info)/u.test(words)
  ) {
    return danger('lost_work');
  }
  const binds = args.some((word) => /^(-v|--volume|--mount|--privileged|--pid=host|--cap-add)/u.test(word));
  return binds ? danger('system', 'a container with more than its own') : [];
}
