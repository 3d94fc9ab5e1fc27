/**
 * The backend that the configuration names, and what can be known of its engines without running any.
 *
 * Docker's client takes a quarter of a second to load and some 30 MB; who runs processes of this machine pays neither.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import type { HitFailpoint } from '../failpoints.ts';
import type { Backend } from './contract.ts';
import { fencesIn } from './fence.ts';
import { subprocessBackend } from './subprocess.ts';

export type BackendOptions = {
  /** Program of an engine that is a process of this machine; another one for each image in tests. */
  entry: string | ((image: string) => string);
  failpoint: HitFailpoint;
  onError(error: unknown): void;
};

/** Throws the system's error where the folder of subprocess engines cannot be made. */
export async function openBackend(config: Config, options: BackendOptions): Promise<Backend> {
  const { failpoint, onError } = options;
  if (config.backend === 'docker') {
    const { dockerBackend } = await import('./docker/docker.ts');
    return dockerBackend({ ...config.docker, seccomp: await seccompProfile(), failpoint, onError });
  }
  const root = rootOf(config);
  await mkdir(root, { recursive: true, mode: 0o700 });
  return subprocessBackend({
    root,
    entry: options.entry,
    catalog_dir: config.catalog_dir,
    environment: config.process_environment,
    onError,
    failpoint,
  });
}

/** The highest epoch that the backend has seen of each engine it has anything of. */
export async function fencesOf(config: Config): Promise<Map<string, number>> {
  if (config.backend !== 'docker') return await fencesIn(rootOf(config));
  const { dockerFences } = await import('./docker/docker.ts');
  return await dockerFences(config.docker);
}

const rootOf = ({ data_dir }: Config) => join(data_dir, 'engines');

async function seccompProfile(): Promise<string> {
  const { default: profile } = await import('../../../deploy/engine_seccomp.json', {
    with: { type: 'json' },
  });
  return JSON.stringify(profile);
}
