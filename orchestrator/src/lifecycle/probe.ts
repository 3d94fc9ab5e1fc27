/** Questions to an Engine: is it ready, after a boot; is it well, from then on. */
import { Activity, Health } from '@september/contract';
import type { ProbeOutcome } from '../registry/health.ts';
import type { Ask } from './ask.ts';

/** One question to an engine that is coming up, milliseconds. */
const BOOT_PROBE_TIMEOUT_MS = 2_000;
/** An engine that is busy may be slow to say so, milliseconds; one that is slower stays awake. */
const ACTIVITY_TIMEOUT_MS = 5_000;

/**
 * Is the Engine at `url` ready, and is it ours? Gives null when it is, else what was seen, for people.
 *
 * Good health alone proves nothing: another program, or an engine of another orchestrator on this machine,
 * may sit on the port. Only our Engine accepts our key, so `/activity` is asked with it as well.
 */
export async function probe(
  ask: Ask,
  url: string,
  api_key: string,
  signal: AbortSignal,
): Promise<string | null> {
  const health = await ask(`${url}/health`, {}, BOOT_PROBE_TIMEOUT_MS, signal);
  if (typeof health === 'string') return health;
  const parsed = Health.safeParse(health.body);
  if (!parsed.success) return 'GET /health gives no health report';
  if (health.status !== 200) return `GET /health says ${parsed.data.status}`;
  const activity = await ask(`${url}/activity`, { 'X-Engine-Key': api_key }, BOOT_PROBE_TIMEOUT_MS, signal);
  if (typeof activity === 'string') return activity;
  return activity.status === 200 ? null : `GET /activity with the engine's key gives HTTP ${activity.status}`;
}

/**
 * How is the Engine at `url`? Ill is what a restart may cure: no answer, a status other than 2xx, a brain
 * that cannot be used. A model provider that is away, or a catalog that cannot be read, makes it `reduced`:
 * a restart would only end the turns in flight (O11).
 */
export async function probeHealth(
  ask: Ask,
  url: string,
  timeout_ms: number,
  signal: AbortSignal,
): Promise<ProbeOutcome> {
  const answer = await ask(`${url}/health`, {}, timeout_ms, signal);
  if (typeof answer === 'string') return { health: 'ill', seen: answer };
  const parsed = Health.safeParse(answer.body);
  if (!parsed.success) return { health: 'ill', seen: `HTTP ${answer.status} without a health report` };
  const { status, subsystems } = parsed.data;
  if (subsystems.database === 'error') return { health: 'ill', seen: 'database: error' };
  if (answer.status < 200 || answer.status > 299) {
    return { health: 'ill', seen: `HTTP ${answer.status}, status ${status}` };
  }
  const reduced = (['llm_provider', 'asset_directory'] as const).filter(
    (name) => subsystems[name] === 'error',
  );
  if (reduced.length > 0) {
    return { health: 'reduced', seen: reduced.map((name) => `${name}: error`).join(', ') };
  }
  return status === 'ok' ? { health: 'ok', seen: null } : { health: 'reduced', seen: `status ${status}` };
}

/** What goes on in the Engine at `url`, or why that is not known. */
export async function askActivity(
  ask: Ask,
  url: string,
  api_key: string,
  signal: AbortSignal,
): Promise<Activity | string> {
  const answer = await ask(`${url}/activity`, { 'X-Engine-Key': api_key }, ACTIVITY_TIMEOUT_MS, signal);
  if (typeof answer === 'string') return answer;
  if (answer.status !== 200) return `GET /activity gives HTTP ${answer.status}`;
  const parsed = Activity.safeParse(answer.body);
  return parsed.success ? parsed.data : 'GET /activity gives no activity report';
}
