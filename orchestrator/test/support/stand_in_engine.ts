/**
 * A small program that keeps the Engine's contract as far as the orchestrator sees it: `/health`,
 * `/activity`, SIGTERM, exit codes. How it behaves stands in `stand_in.json` of the data folder, read anew
 * for each question, so that a test decides what happens next instead of waiting for it.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Activity } from '@september/contract';

export type StandInBehaviour = {
  /** What `/health` says; default `ok`. */
  health?: 'ok' | 'degraded' | 'starting' | 'error';
  /** What it says of its parts, where that is not that all is well. */
  subsystems?: Record<string, string>;
  /** End at once with this code, after printing `last_line`. */
  exit_code?: number;
  last_line?: string;
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
};

const behaviour = (): StandInBehaviour => {
  try {
    return JSON.parse(readFileSync('../../stand_in.json', 'utf8'));
  } catch {
    return {};
  }
};

const { exit_code, last_line, chatter_bytes = 0, child: wantsChild } = behaviour();
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
  } else if (createHash('sha256').update(key).digest('hex') !== process.env.ENGINE_KEY_HASH) {
    answer(401, { error: 'INVALID_KEY', message: 'wrong key' });
  } else if (request.url === '/activity') {
    const { activity = {} } = behaviour();
    answer(activity === null ? 500 : 200, {
      in_flight_turns: 0,
      open_streams: 0,
      pending_hitl: 0,
      last_activity_at: new Date().toISOString(),
      busy_until: null,
      ...activity,
    });
  } else {
    answer(200, { pid: process.pid, child, env: process.env });
  }
});
server.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EADDRINUSE' ? 65 : 1));
server.listen(Number(process.env.ENGINE_PORT), process.env.ENGINE_HOST);
