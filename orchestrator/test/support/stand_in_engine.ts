/**
 * A small program that keeps the Engine's contract as far as the orchestrator sees it: `/health`,
 * `/activity`, key rotation, SIGTERM, exit codes. How it behaves stands in `stand_in.json` of the data folder, or of the
 * catalog where it runs in a container, read anew for each question, so that a test decides what happens next instead
 * of waiting for it.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { basename } from 'node:path';
import type { Activity } from '@september/contract';

export type StandInBehaviour = {
  /** What `/health` says; default `ok`. */
  health?: 'ok' | 'degraded' | 'starting' | 'error';
  /** What it says of its parts, where that is not that all is well. */
  subsystems?: Record<string, string>;
  /** End at once with this code, after printing `last_line`. */
  exit_code?: number;
  last_line?: string;
  /** Before anything else, put these words into the brain, where they are not. */
  writes?: string;
  /** Before anything else, take the copy of the data away. */
  removes_snapshot?: boolean;
  /** What `/activity` says to the first, second, … question of a process; `null`, and to later ones: as `activity`. */
  activities?: (Partial<Activity> | null)[];
  /** Do not end on SIGTERM. */
  stubborn?: boolean;
  /** Print this many bytes at the start. */
  chatter_bytes?: number;
  /** Start a child, and tell its process id. */
  child?: boolean;
  /** Print "heard SIGTERM" on it. */
  last_act?: boolean;
  /** What `/activity` says where it differs from an engine that was used just now; `null`: an error. */
  activity?: Partial<Activity> | null;
  /**
   * What comes of the first, second, … request to rotate the key that a process gets; of later ones what should.
   * `lost`: done, not answered. `deaf`: neither. `refused`, `rubbish`: answered so, not done. `dies`: done, then ends.
   */
  rotate?: ('well' | 'lost' | 'deaf' | 'refused' | 'rubbish' | 'dies')[];
  /** How engines of an image differ from that, by the name this program was started as (images.ts). */
  images?: Record<string, Omit<StandInBehaviour, 'images'>>;
};

/** `keys.json`, the brain's part of it: the hashes that open this engine (E12), and all it was ever told. */
export type StandInKeys = {
  boot: string;
  current: string;
  old: string | null;
  /** Milliseconds since 1970. */
  old_until: number;
  told: string[];
};

const image = basename(process.argv[1] ?? '', '.ts');
const brain = process.env.SQLITE_DB_PATH ?? '';
const readBrain = () => (existsSync(brain) ? readFileSync(brain, 'utf8') : '');

const behaviour = (): StandInBehaviour => {
  for (const folder of ['../..', process.env.CATALOG_DIR]) {
    try {
      const all: StandInBehaviour = JSON.parse(readFileSync(`${folder}/stand_in.json`, 'utf8'));
      return { ...all, ...all.images?.[image] };
    } catch {
      // Not there, or just being written.
    }
  }
  return {};
};

const { exit_code, last_line, chatter_bytes = 0, child: wantsChild, writes, removes_snapshot } = behaviour();
if (removes_snapshot) rmSync(`../../engines.snapshots/${basename(process.cwd())}`, { recursive: true });
if (writes !== undefined && !readBrain().includes(writes)) writeFileSync(brain, readBrain() + writes);
const child = wantsChild ? spawn('sleep', ['600']).pid : undefined;
if (chatter_bytes > 0) process.stdout.write(`${'.'.repeat(chatter_bytes - 1)}\n`);
if (exit_code !== undefined) {
  console.log(last_line ?? '');
  process.exit(exit_code);
}

process.on('SIGTERM', () => {
  if (behaviour().last_act) process.stdout.write('heard SIGTERM\n');
  if (!behaviour().stubborn) process.exit(0);
});

const KEYS = 'keys.json';
const { ENGINE_KEY_HASH_FILE } = process.env;
const boot = ENGINE_KEY_HASH_FILE
  ? readFileSync(ENGINE_KEY_HASH_FILE, 'utf8')
  : (process.env.ENGINE_KEY_HASH ?? '');
let keys = loadKeys();
const bootOverlap_s = Number(process.env.BAP_KEY_ROTATION_MIN_OVERLAP_SECONDS ?? 0);
saveKeys({ ...(keys.boot === boot ? keys : rotated(boot, bootOverlap_s)), boot });

function loadKeys(): StandInKeys {
  try {
    return JSON.parse(readFileSync(KEYS, 'utf8'));
  } catch {
    return { boot, current: boot, old: null, old_until: 0, told: [] };
  }
}

function saveKeys(next: StandInKeys) {
  writeFileSync(KEYS, JSON.stringify(next));
  keys = next;
}

function rotated(hash: string, overlap_s: number): StandInKeys {
  if (hash === keys.current) return keys;
  return { ...keys, current: hash, old: keys.current, old_until: Date.now() + overlap_s * 1000 };
}

const opens = (hash: string) => hash === keys.current || (hash === keys.old && Date.now() < keys.old_until);

let rotations = 0;
/** How many of `activities` have been said. */
let asked = 0;

const server = createServer((request, response) => {
  const answer = (status: number, body: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const key = String(request.headers['x-engine-key'] ?? '');
  if (request.url === '/health') {
    const { health = 'ok', subsystems } = behaviour();
    answer(health === 'ok' || health === 'degraded' ? 200 : 503, {
      status: health,
      uptime_seconds: process.uptime(),
      subsystems: { database: 'ok', llm_provider: 'ok', asset_directory: 'disabled', ...subsystems },
    });
  } else if (!opens(createHash('sha256').update(key).digest('hex'))) {
    answer(401, { error: 'INVALID_KEY', message: 'wrong key' });
  } else if (request.url === '/activity') {
    const { activities, activity: usual = {} } = behaviour();
    const activity = activities?.[asked] ?? usual;
    if (activities !== undefined) asked += 1;
    answer(activity === null ? 500 : 200, {
      in_flight_turns: 0,
      open_streams: 0,
      pending_hitl: 0,
      last_activity_at: new Date().toISOString(),
      busy_until: null,
      ...activity,
    });
  } else if (request.url === '/admin/rotate-key') {
    const mode = behaviour().rotate?.[rotations] ?? 'well';
    rotations += 1;
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const { key_hash, min_overlap_s } = JSON.parse(body);
      if (mode === 'refused') return answer(500, { error: 'INTERNAL_ERROR', message: 'no' });
      if (mode === 'rubbish') return answer(200, { hello: 'world' });
      if (mode === 'deaf') return request.socket.destroy();
      saveKeys({ ...rotated(key_hash, min_overlap_s), told: [...keys.told, key_hash] });
      if (mode === 'dies') process.exit(1);
      if (mode === 'lost') return request.socket.destroy();
      const old_key_valid_until = new Date(keys.old_until).toISOString();
      answer(200, { status: 'rotated', old_key_valid_until, old_key_purged_at: old_key_valid_until });
    });
  } else {
    answer(200, { pid: process.pid, child, env: process.env, image, brain: readBrain() });
  }
});
server.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EADDRINUSE' ? 65 : 1));
server.listen(Number(process.env.ENGINE_PORT), process.env.ENGINE_HOST);
