/**
 * The image of the Engine, run as docs/deploy/images.md says: whatever can be taken from a container is. A test of a
 * container with more rights would show nothing about the one that users run.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

export const ENGINE_IMAGE = 'september-engine:test';
export const KEY = 'test-key';

const root = join(import.meta.dirname, '../..');
export const SECCOMP = join(root, 'deploy/engine_seccomp.json');

/** All of it but the names and what an Engine is told. */
export const RESTRICTIONS = [
  ...['--read-only', '--tmpfs', '/tmp', '--cap-drop', 'ALL'],
  ...['--security-opt', 'no-new-privileges', '--security-opt', `seccomp=${SECCOMP}`],
  ...['--memory', '1g', '--memory-swap', '1g', '--pids-limit', '512'],
];

/** Milliseconds; a start takes about one second. */
const BOOT_MS = 30_000;
const POLL_MS = 50;

/** @returns what it prints, trimmed. @throws what it complains. */
export function docker(args: string[], input = ''): string {
  const { status, stdout, stderr } = spawnSync('docker', args, {
    encoding: 'utf8',
    input,
    maxBuffer: 1 << 26,
  });
  if (status !== 0) throw new Error(`docker ${args.join(' ')}: ${stderr}${stdout}`);
  return stdout.trim();
}

// biome-ignore lint/suspicious/noExplicitAny: an answer under test is looked into, not trusted
export type Contained = { name: string; url: string; health(): Promise<any> };

/**
 * Starts an Engine with fresh volumes and waits until its sandbox was looked at. `secrets`: in files, by their variables;
 * `args`: more of them for `docker run`, the last of two that contradict each other counts.
 */
export async function runEngine(
  name: string,
  given: { environment?: Record<string, string>; secrets?: Record<string, string>; args?: string[] } = {},
): Promise<Contained> {
  removeEngine(name);
  const secrets = { ENGINE_API_KEY: KEY, ...given.secrets };
  const environment = { LLM_PROVIDER: 'openai', LLM_BASE_URL: 'http://127.0.0.1:9', ...given.environment };
  for (const [variable, value] of Object.entries(secrets)) {
    const write = `umask 277; cat >/run/september/${variable}`;
    const volume = ['-v', `${name}-run:/run/september`];
    docker(['run', '--rm', '-i', ...volume, '--entrypoint', 'sh', ENGINE_IMAGE, '-c', write], value);
  }
  docker([
    ...['run', '-d', '--name', name, ...RESTRICTIONS, '-p', '127.0.0.1::8000'],
    ...['-v', `${name}-data:/data`, '-v', `${name}-run:/run/september:ro`],
    ...Object.keys(secrets).flatMap((variable) => ['-e', `${variable}_FILE=/run/september/${variable}`]),
    ...Object.entries(environment).flatMap(([variable, value]) => ['-e', `${variable}=${value}`]),
    ...(given.args ?? []),
    ENGINE_IMAGE,
  ]);
  const url = `http://${docker(['port', name, '8000']).split('\n')[0]}`;
  const health: Contained['health'] = async () => await (await fetch(`${url}/health`)).json();
  const late = Date.now() + BOOT_MS;
  for (;;) {
    const said = await health().catch(() => undefined);
    if ((said?.sandbox?.mode ?? 'unchecked') !== 'unchecked') return { name, url, health };
    const runs = docker(['inspect', '--format', '{{.State.Running}}', name]) === 'true';
    if (!runs || Date.now() > late)
      throw new Error(`${name} is not ready: ${docker(['logs', '--tail', '5', name])}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** With its volumes; nothing where there is none. */
export function removeEngine(name: string): void {
  docker(['rm', '-f', name]);
  docker(['volume', 'rm', '-f', `${name}-data`, `${name}-run`]);
}
