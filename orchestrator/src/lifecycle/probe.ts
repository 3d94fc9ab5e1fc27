import { Health } from '@september/contract';

/** One question to an engine that is coming up, milliseconds. */
const PROBE_TIMEOUT_MS = 2_000;
/** A health or activity answer is a few hundred bytes; whoever sends more is not an Engine. */
const MAX_ANSWER_BYTES = 64 * 1024;

/**
 * Is the Engine at `url` ready, and is it ours? Gives null when it is, else what was seen, for people.
 *
 * Good health alone proves nothing: another program, or an engine of another orchestrator on this machine,
 * may sit on the port. Only our Engine accepts our key, so `/activity` is asked with it as well.
 */
export async function probe(url: string, api_key: string, signal: AbortSignal): Promise<string | null> {
  const health = await ask(`${url}/health`, {}, signal);
  if (typeof health === 'string') return health;
  const parsed = Health.safeParse(health.body);
  if (!parsed.success) return 'GET /health gives no health report';
  if (health.status !== 200) return `GET /health says ${parsed.data.status}`;
  const activity = await ask(`${url}/activity`, { 'X-Engine-Key': api_key }, signal);
  if (typeof activity === 'string') return activity;
  return activity.status === 200 ? null : `GET /activity with the engine's key gives HTTP ${activity.status}`;
}

/** The answer, or why there is none. */
async function ask(
  url: string,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<{ status: number; body: unknown } | string> {
  try {
    const response = await fetch(url, {
      headers,
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)]),
    });
    const text = await readAtMost(response, MAX_ANSWER_BYTES);
    return { status: response.status, body: text === null ? null : parseJson(text) };
  } catch (error) {
    signal.throwIfAborted();
    const cause = error instanceof Error ? (error.cause ?? error) : error;
    const why = cause instanceof Error ? ('code' in cause ? cause.code : cause.name) : 'unknown';
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
