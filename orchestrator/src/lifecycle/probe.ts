/** Questions to an Engine: is it ready, after a boot; is it well, from then on. */
import { Activity, Health } from '@september/contract';
import type { ProbeOutcome } from '../registry/health.ts';

/** One question to an engine that is coming up, milliseconds. */
const BOOT_PROBE_TIMEOUT_MS = 2_000;
/** An engine that is busy may be slow to say so, milliseconds; one that is slower stays awake. */
const ACTIVITY_TIMEOUT_MS = 5_000;
/** A health or activity answer is a few hundred bytes; whoever sends more is not an Engine. */
const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * Is the Engine at `url` ready, and is it ours? Gives null when it is, else what was seen, for people.
 *
 * Good health alone proves nothing: another program, or an engine of another orchestrator on this machine,
 * may sit on the port. Only our Engine accepts our key, so `/activity` is asked with it as well.
 */
export async function probe(url: string, api_key: string, signal: AbortSignal): Promise<string | null> {
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

/** The answer, or why there is none. */
async function ask(
  url: string,
  headers: Record<string, string>,
  timeout_ms: number,
  signal: AbortSignal,
): Promise<{ status: number; body: unknown } | string> {
  try {
    const response = await fetch(url, {
      headers,
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeout_ms)]),
    });
    const text = await readAtMost(response, MAX_ANSWER_BYTES);
    return { status: response.status, body: text === null ? null : parseJson(text) };
  } catch (error) {
    signal.throwIfAborted();
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    const why = typeof code === 'string' ? code : cause instanceof Error ? cause.name : 'unknown';
    return `no answer (${why})`;
  }
}

async function readAtMost(response: Response, limit: number): Promise<string | null> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > limit) return null;
  }
  return text;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
