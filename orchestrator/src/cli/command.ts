/** What a command is: its words, what it takes, what it says of itself, and what it does. */

/** `value`: what stands behind it, as help shows it; absent: a switch. */
export type OptionSpec = { meaning: string; value?: string };

export type Command = {
  /** Behind `bap-engine`. */
  words: readonly string[];
  /** A shorter way to say the same. */
  also?: string;
  /** What must follow, in order. */
  args: readonly string[];
  options: Readonly<Record<string, OptionSpec>>;
  /** One line. */
  summary: string;
  /** What else a caller should know. */
  detail?: string;
  /** Complete: it can be pasted. */
  example: string;
  run(given: Given, io: Io): Promise<Result>;
};

/** What was given behind the words. */
export type Given = {
  /** A positional argument by its name. */
  arg(name: string): string;
  text(option: string): string | undefined;
  on(option: string): boolean;
};

/** Where a command runs. */
export type Io = {
  env: Record<string, string | undefined>;
  cwd: string;
  /** Says something to a person beside the result, on standard error. */
  note(text: string): void;
  /** Shows how far long work is; only to a terminal. */
  progress(text: string): void;
};

/** What came out: for scripts one JSON document, for people text in the given width, and what they may want next. */
export type Result = {
  json: unknown;
  people(width: number): string;
  next?: string[];
  /** It worked, and found something wrong: exit code 1. */
  failed?: boolean;
};

export const nameOf = ({ words }: Command) => words.join(' ');
