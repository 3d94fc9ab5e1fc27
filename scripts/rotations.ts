/**
 * The keys of one real engine, rotated over and over while it is used: constant admits, and turns that stream. Nobody
 * who admits and then calls may ever be refused; and a key whose overlap is over must be.
 */
import type { OwnOrchestrator } from './own_orchestrator.ts';

/** Users who admit and then talk, one call after the other; and as many who only admit. */
const CLIENTS = 3;

export type RotationReport = {
  rotations: number;
  admits: number;
  /** Turns that began and were answered to their end. */
  turns: number;
  /** What went wrong, in words; all must be well. */
  failures: string[];
  /** Old keys that still opened the engine after their overlap. */
  still_good: number;
  seconds: number;
};

type Admission = { admitted: boolean; engine: { url: string; api_key: string } };

/**
 * Rotates the key of one engine `rotations` times, under load. The orchestrator's `ORCH_ROTATE_OVERLAP_S` should be a
 * few seconds: old keys are tried again after it.
 */
export async function rotateUnderLoad(
  orchestrator: OwnOrchestrator,
  rotations: number,
): Promise<RotationReport> {
  const failures: string[] = [];
  const counts = { admits: 0, turns: 0 };
  async function call<Answer>(path: string, headers: Record<string, string>, body: object): Promise<Answer> {
    const response = await fetch(`${orchestrator.url}${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    const answer = await response.text();
    if (!response.ok) throw new Error(`POST ${path} gave HTTP ${response.status} ${answer}`);
    return JSON.parse(answer) as Answer;
  }
  const { platform_api_key } = await call<{ platform_api_key: string }>(
    '/products/register',
    { 'X-Admin-Key': orchestrator.adminKey },
    { slug: 'rotations', display_name: 'Rotations' },
  );
  const key = { 'X-Platform-Key': platform_api_key };
  const admit = () => call<Admission>('/engines/ada/admit', key, { auto_provision: true });
  const { engine } = await admit();

  let over = false;
  async function load(work: () => Promise<void>): Promise<void> {
    while (!over) await work().catch((error) => failures.push(String(error)));
  }
  const admitOnly = async () => {
    await admit();
    counts.admits += 1;
  };
  const talk = (client: number) => async () => {
    const { engine } = await admit();
    const response = await fetch(`${engine.url}/execute`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Engine-Key': engine.api_key },
      body: JSON.stringify({ message: `Say ${counts.turns}`, task_id: `task-${client}-${counts.turns}` }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`POST /execute gave HTTP ${response.status} ${text}`);
    if (!text.includes('"phase":"completed"')) throw new Error(`a turn was cut: ${text.slice(-200)}`);
    counts.turns += 1;
  };
  const clients = Array.from({ length: CLIENTS }, (_, client) => [
    load(talk(client)),
    load(admitOnly),
  ]).flat();

  const began = performance.now();
  const replaced: { api_key: string; valid_until: number }[] = [];
  let current = engine.api_key;
  for (let n = 0; n < rotations; n += 1) {
    try {
      const path = '/engines/ada/rotate-key';
      const rotated = await call<{ api_key: string; old_key_valid_until: string }>(path, key, {});
      replaced.push({ api_key: current, valid_until: Date.parse(rotated.old_key_valid_until) });
      current = rotated.api_key;
    } catch (error) {
      failures.push(String(error));
    }
  }
  over = true;
  await Promise.all(clients);

  const last = Math.max(...replaced.map(({ valid_until }) => valid_until));
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, last - Date.now())));
  let still_good = 0;
  for (const { api_key } of replaced) {
    const answer = await fetch(`${engine.url}/activity`, { headers: { 'X-Engine-Key': api_key } });
    if (answer.status !== 401) still_good += 1;
  }
  const good = await fetch(`${engine.url}/activity`, { headers: { 'X-Engine-Key': current } });
  if (!good.ok) failures.push(`the last key gave HTTP ${good.status}`);
  const seconds = Math.round((performance.now() - began) / 1000);
  return { rotations: replaced.length, ...counts, failures, still_good, seconds };
}
