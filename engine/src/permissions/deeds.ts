/**
 * What commands do, in the few words that rules are about. Source: engine-runtime, "Permissions".
 */
import type { Word } from './words.ts';

/** Everything a person may have to decide about, and what the question says of it. */
export const DANGERS = {
  unclear: 'it cannot be told what this does',
  inline_code: 'it runs code that is given with it, and what that does is not known',
  delete_outside: 'this deletes what is outside of the folders of this Engine',
  delete_everything: 'this deletes all there is in a folder of this Engine, or its history',
  write_outside: 'this changes what is outside of the folders of this Engine',
  overwrite: 'this replaces a file that has something in it',
  shred: 'this destroys data for good',
  change_modes: 'this changes who may use files, with everything below',
  disk: 'this changes disks or what is mounted',
  system: 'this changes the machine or ends what runs on it',
  fork_bomb: 'this calls itself, so it may never end',
  lost_work: 'this throws away work that is kept nowhere else',
  publish: 'this makes something public, or changes what others use',
  network: 'this goes to a host that is not in the list of allowed hosts',
  requires_permission: 'this tool is always asked about',
  high_cost: 'this tool is expensive',
  after_outside: 'the model has just read what strangers wrote, and this may be their idea',
} as const;

export type Danger = keyof typeof DANGERS;

/** Danger that lies in what is run, whatever is there on the disk. */
export type PlainDanger = Exclude<
  Danger,
  'delete_outside' | 'delete_everything' | 'write_outside' | 'overwrite' | 'network'
>;

/**
 * `write`: `create` leaves what is there or adds to it, `replace` puts something in its place, `empty` nothing.
 * `delete` with `whole`: the folder with all that is in it.
 */
export type Deed =
  | { kind: 'danger'; danger: PlainDanger; why?: string }
  | { kind: 'delete'; path: Word; whole: boolean }
  | { kind: 'write'; path: Word; how: 'create' | 'replace' | 'empty' }
  /** A link at `path` to `to`: whoever writes to the one writes to the other. */
  | { kind: 'link'; path: Word; to: Word }
  | { kind: 'connect'; host: Word };

/** What a program runs in its turn. `file`: a script; what is in it is not looked at. */
export type Inner =
  | { kind: 'command'; words: Word[]; stdin?: Stdin }
  | { kind: 'code'; text: Word }
  | { kind: 'file'; path: Word };

/** Where a command reads from. `text`: words of the command itself. */
export type Stdin = { kind: 'inherited' } | { kind: 'unknown' } | { kind: 'text'; text: Word };

/** One simple command. `folders`: where it may run. */
export type Step = { words: Word[]; folders: Word[]; deeds: Deed[] };

export const unclear = (why: string): Deed => ({ kind: 'danger', danger: 'unclear', why });
