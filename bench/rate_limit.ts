/**
 * `npm run bench -- rate_limit`: the rate limit in real time, over two orchestrators and a `kill -9` (O17).
 *
 * The moment of an admit is not seen from outside, only that it lies between request and answer. So two things can be
 * proven from outside, and both are looked for: 61 admits that lie in one minute from the first request to the last
 * answer; and a refusal although fewer than 60 admits can have been in the minute before it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startEmbeddedPostgres } from '../orchestrator/src/registry/embedded_postgres.ts';
import { freePort } from '../scripts/free_port.ts';
import { writeReport } from './support/page.ts';

const MAIN = fileURLToPath(new URL('../orchestrator/src/main.ts', import.meta.url));
const ADMIN = 'the admin key of a benchmark, used by nobody';
const RPM = 60;
const WINDOW_MS = 60_000;
const RUN_MS = 180_000;
const KILL_AFTER_MS = 70_000;
/** Of each orchestrator; a pause, so that what is measured is the limit and not the machine. */
const CALLERS = 8;
const PAUSE_MS = 50;

/** `status` null: no answer came, so nobody knows whether it was admitted. */
type Admit = { sent: number; answered: number; status: number | null };

export async function benchRateLimit(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-rate-limit-'));
  const postgres = await startEmbeddedPostgres({ folder: join(folder, 'postgres') });
  const start = async (port: number) => {
    const child = spawn(process.execPath, [MAIN], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {
        PATH: process.env.PATH,
        NODE_ENV: 'production',
        ORCH_DATABASE_URL: postgres.url,
        ORCH_MASTER_KEY: Buffer.alloc(32, 7).toString('base64url'),
        ORCH_ADMIN_KEY: ADMIN,
        ORCH_DATA_DIR: folder,
        ORCH_ENGINE_BACKEND: 'subprocess',
        ORCH_HOST: '127.0.0.1',
        ORCH_PORT: String(port),
      },
    });
    const url = `http://127.0.0.1:${port}`;
    while (!(await fetch(`${url}/health`).catch(() => null))?.ok) await delay(PAUSE_MS);
    return { url, child };
  };
  const replicas = [await start(await freePort()), await start(await freePort())];
  try {
    const response = await fetch(`${replicas[0]?.url}/products/register`, {
      method: 'POST',
      headers: { 'X-Admin-Key': ADMIN, 'Content-Type': 'application/json' },
      body: JSON.stringify({ slug: 'bench', display_name: 'Bench', policy: { rate_limit_rpm: RPM } }),
    });
    const { platform_api_key } = (await response.json()) as { platform_api_key: string };
    const admits: Admit[] = [];
    const began = performance.now();
    const passed = () => performance.now() - began;
    const call = async (url: string) => {
      while (passed() < RUN_MS) {
        const sent = passed();
        const status = await fetch(`${url}/engines/ada/admit`, {
          method: 'POST',
          headers: { 'X-Platform-Key': platform_api_key },
        }).then(
          async (answer) => {
            await answer.arrayBuffer();
            return answer.status;
          },
          () => null,
        );
        admits.push({ sent, answered: passed(), status });
        await delay(PAUSE_MS);
      }
    };
    const calls = replicas.flatMap(({ url }) => Array.from({ length: CALLERS }, () => call(url)));
    await delay(KILL_AFTER_MS);
    const [victim] = replicas;
    if (victim === undefined) throw new Error('there is no orchestrator');
    victim.child.kill('SIGKILL');
    await once(victim.child, 'exit');
    const killed = passed();
    replicas[0] = await start(Number(new URL(victim.url).port));
    const back_after_s = (passed() - killed) / 1000;
    await Promise.all(calls);
    const text = `${judge(admits)} One orchestrator was killed after ${KILL_AFTER_MS / 1000} s and served again ${back_after_s.toFixed(1)} s later.`;
    console.log(text);
    await writeReport('rate_limit', text);
  } finally {
    for (const { child } of replicas) {
      child.kill();
      await once(child, 'exit');
    }
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function judge(admits: Admit[]): string {
  const granted = admits.filter(({ status }) => status === 200);
  const maybe = admits.filter(({ status }) => status === 200 || status === null);
  const refused = admits.filter(({ status }) => status === 429);
  const others = admits.length - maybe.length - refused.length;
  const inWindow = granted.map(
    (first) =>
      granted.filter((one) => one.sent >= first.sent && one.answered < first.sent + WINDOW_MS).length,
  );
  const wrongly = refused.filter(
    (refusal) =>
      maybe.filter((one) => one.sent < refusal.answered && one.answered > refusal.sent - WINDOW_MS).length <
      RPM,
  );
  return `${RUN_MS / 1000} s, limit ${RPM}: ${granted.length} admitted, at most ${Math.max(...inWindow)} in any minute; ${refused.length} refused, ${wrongly.length} of them although there was room; ${maybe.length - granted.length} without an answer, ${others} answered otherwise.`;
}
