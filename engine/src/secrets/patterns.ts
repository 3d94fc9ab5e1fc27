/**
 * What secrets look like: a table of those that are made by well-known providers, and of the ways in which others are
 * written down. Source: engine-runtime, "Secret scanner and hooks".
 *
 * A row has two parts: what stands before a secret and tells that one follows, which stays, and the secret itself, which
 * does not. So text is held back from where a secret begins and not from where something begins that might announce
 * one: of ordinary text that streams by nothing is held back at all.
 */
export type Pattern = {
  /** Stands for the secret: `[REDACTED:<kind>]`. */
  kind: string;
  /** Source of a regular expression for what stands before; matches at most `MAX_BEFORE` characters. */
  before: string;
  /** Of the secret: one character of it, as source of a regular expression, and how many there are. */
  chars: string;
  min: number;
  /** More are taken for the next text, unless all have this one length: then more, as less, are no secret. */
  max: number;
  /** Has the last word. `next` is the character behind, empty at the end. */
  check?: (secret: string, next: string) => boolean;
  /** Two halves of one, which belong together; cut so that this file holds none. */
  example: [string, string];
};

/** Longest text before a secret, with one character more that `before` may look back at. */
export const MAX_BEFORE = 64;

/** Not in the middle of a word: `task-` is no `sk-`. */
const start = '(?<![A-Za-z0-9])';

const WORD = '[A-Za-z0-9_-]';
const ALNUM = '[A-Za-z0-9]';
const HEX = '[a-f0-9]';
const A = 'aZ3bY4cX5dW6eV7fU8gT9hS0iR1jQ2kP';

export const PATTERNS: Pattern[] = [
  row('anthropic_key', 'sk-ant-', WORD, 20, 300, ['sk-ant-api03-', A]),
  row('engine_key', '[sp]k-sept-', WORD, 16, 200, ['sk-sept-', A]),
  { ...row('openai_key', 'sk-(?!ant-|sept-)', WORD, 20, 300, ['sk-proj-', A]), check: isMixed },
  row('llm_key', '(?:gsk_|xai-|pplx-|r8_|nvapi-)', WORD, 20, 200, ['gsk_', A]),
  row('huggingface_token', 'hf_', ALNUM, 30, 100, ['hf_', A]),
  row('google_api_key', 'AIza', WORD, 35, 35, ['AIza', `${A}abc`]),
  row('google_token', 'ya29\\.', '[\\w.-]', 20, 500, ['ya29.', A]),
  row('aws_access_key_id', '(?:AKIA|ASIA)', '[A-Z0-9]', 16, 16, ['AKIA', 'IOSFODNN7EXAMPLE']),
  row('azure_storage_key', 'AccountKey=', '[A-Za-z0-9+/=]', 40, 120, ['AccountKey=', `${A}${A}`]),
  row('github_token', 'gh[pousr]_', ALNUM, 36, 255, ['ghp_', `${A}abcd`]),
  row('github_token', 'github_pat_', '\\w', 40, 255, ['github_pat_', `${A}_${A}`]),
  row('gitlab_token', 'gl(?:pat|dt|rt|ptt|cbt|soat|ft)-', '[\\w.-]', 20, 300, ['glpat-', A]),
  row('slack_token', '(?:xox[abeoprs]|xapp)-', '[\\w.-]', 10, 300, ['xoxb-', '123456789012-AbCdEfGhIj']),
  row('slack_webhook', 'hooks\\.slack\\.com/(?:services|workflows|triggers)/', '[\\w/+-]', 20, 200, [
    'https://hooks.slack.com/services/',
    'T00000000/B00000000/abcdefgh12345678',
  ]),
  row('stripe_key', '[sr]k_(?:live|test)_', ALNUM, 10, 300, ['sk_live_', A]),
  row('stripe_key', 'whsec_', '[A-Za-z0-9+/=]', 24, 100, ['whsec_', A]),
  row('npm_token', 'npm_', ALNUM, 36, 36, ['npm_', `${A}abcd`]),
  row('pypi_token', 'pypi-', WORD, 50, 600, ['pypi-', `AgEIcHlwaS5vcmc${A}${A}`]),
  row('docker_token', 'dckr_[po]at_', WORD, 20, 100, ['dckr_pat_', A]),
  row('sendgrid_key', 'SG\\.', '[\\w.-]', 50, 100, ['SG.', `${A}.${A}`]),
  row('twilio_key', 'SK', HEX, 32, 32, ['SK', '0123456789abcdef0123456789abcdef']),
  row('telegram_token', '\\d{8,10}:AA', WORD, 30, 40, ['123456789:AA', A]),
  row('digitalocean_token', 'do[opr]_v1_', HEX, 64, 64, ['dop_v1_', '0123456789abcdef'.repeat(4)]),
  row('databricks_token', 'dapi', HEX, 32, 34, ['dapi', '0123456789abcdef0123456789abcdef']),
  row('shopify_token', 'shp(?:at|ca|pa|ss)_', '[a-fA-F0-9]', 32, 32, [
    'shpat_',
    '0123456789abcdef'.repeat(2),
  ]),
  row('vault_token', 'hv[sb]\\.', WORD, 24, 300, ['hvs.', A]),
  row('grafana_token', 'gl(?:c|sa)_', '[\\w=+/-]', 30, 400, ['glsa_', A]),
  row('linear_key', 'lin_(?:api|oauth)_', ALNUM, 30, 100, ['lin_api_', A]),
  row('notion_token', 'ntn_', ALNUM, 30, 100, ['ntn_', A]),
  row('atlassian_token', 'ATATT3', '[\\w=-]', 40, 400, ['ATATT3', `${A}${A}`]),
  row('age_key', 'AGE-SECRET-KEY-1', '[A-Z0-9]', 58, 58, [
    'AGE-SECRET-KEY-1',
    'QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L'.repeat(2).slice(0, 58),
  ]),
  row('tavily_key', 'tvly-', WORD, 16, 100, ['tvly-', A]),
  { ...row('brave_key', 'BSA', WORD, 20, 60, ['BSA', A]), check: isMixed },
  {
    ...row('jwt', 'eyJ', '[\\w.-]', 30, 4_096, ['eyJ', `hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.${A}`]),
    check: (token) => /^[\w-]+\.eyJ[\w-]+\.[\w-]/.test(token),
  },
  {
    kind: 'private_key',
    before: '-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----',
    chars: '(?:(?!-----(?:BEGIN|END))[^])',
    min: 40,
    // A key of 8,192 bits in PEM is half of it.
    max: 16_384,
    // A text about keys names this line too.
    check: (body) => /[A-Za-z0-9+/=]{40}/.test(body),
    example: ['-----BEGIN RSA PRIVATE KEY-----\n', `${A}${A}\n${A}${A}\n`],
  },
  {
    kind: 'url_password',
    before: '://[^\\s/:@"\'<>]{0,40}:',
    chars: '[^\\s/@"\'<>]',
    min: 3,
    max: 128,
    check: (_, next) => next === '@',
    example: ['postgres://app:', 'pw-of-the-app'],
  },
  {
    kind: 'authorization',
    before: '(?i:bearer|basic)\\s{1,3}',
    chars: '[\\w.~+/=-]',
    min: 16,
    max: 4_096,
    check: isMixed,
    example: ['Authorization: Bearer ', A],
  },
  {
    kind: 'secret',
    before:
      '(?i:(?:api|access|auth|secret|private|encryption|signing|master)[_-]?key|secret|token|passwd|password|pwd|credential)["\'`]?\\s{0,3}[:=]\\s{0,3}["\'`]?',
    chars: '[^\\s"\'`,;<>()[\\]{}$\\\\|&]',
    min: 8,
    max: 512,
    check: looksRandom,
    example: ['DB_PASSWORD="', 'aZ3!bY4?cX5'],
  },
];

function row(
  kind: string,
  before: string,
  chars: string,
  min: number,
  max: number,
  example: Pattern['example'],
): Pattern {
  return { kind, before: start + before, chars, min, max, example };
}

/** Names and words have no digits between their letters; what a machine has made nearly always does. */
function isMixed(text: string): boolean {
  return /\d/.test(text) && /[A-Za-z]/.test(text);
}

/** Of what may be anything a person has typed: letters and digits, and as uneven as no word, path or date is. */
function looksRandom(text: string): boolean {
  if (!isMixed(text)) return false;
  const classes = [/[a-z]/, /[A-Z]/, /\d/, /[^A-Za-z0-9]/].filter((of) => of.test(text)).length;
  return text.length >= 16 ? bitsPerCharacter(text) >= 3 : classes >= 3;
}

/** Shannon's entropy of the characters of a text. */
function bitsPerCharacter(text: string): number {
  const counts = new Map<string, number>();
  for (const character of text) counts.set(character, (counts.get(character) ?? 0) + 1);
  let bits = 0;
  for (const count of counts.values()) bits -= (count / text.length) * Math.log2(count / text.length);
  return bits;
}
