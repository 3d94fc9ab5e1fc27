/** What a container needs beside its volumes: the engines' network, made when missing, and the image, pulled when missing. */
import { createInterface } from 'node:readline';
import { BackendFault } from '../contract.ts';
import { type DockerApi, isDocker } from './api.ts';
import { LABEL } from './names.ts';

/** How long a pull may take to begin; then its caller's signal limits it, milliseconds. */
const PULL_LIMIT_MS = 60_000;

/**
 * The network engines share: what stands on it cannot reach what else does (`enable_icc`), unless a rule of the host
 * lets it through (deploy/firewall.sh).
 */
export async function ensureNetwork(docker: DockerApi, network: string): Promise<void> {
  try {
    await docker.call({ method: 'GET', path: `/networks/${network}` });
    return;
  } catch (error) {
    if (!isDocker(error, 'gone')) throw error;
  }
  const body = {
    Name: network,
    CheckDuplicate: true,
    Driver: 'bridge',
    Options: { 'com.docker.network.bridge.enable_icc': 'false' },
    Labels: { [LABEL.network]: network },
  };
  // Another may have made it in the same moment.
  await docker.call({ method: 'POST', path: '/networks/create', body }).catch((error) => {
    if (!isDocker(error, 'conflict')) throw error;
  });
}

/** Pulls an image. Throws `BackendFault` where it cannot be had. */
export async function pullImage(docker: DockerApi, image: string, signal: AbortSignal): Promise<void> {
  // Without a tag Docker would pull all there are.
  const named = /[:@][^/]*$/.test(image) ? image : `${image}:latest`;
  try {
    const query = { fromImage: named };
    const stream = await docker.stream({
      method: 'POST',
      path: '/images/create',
      query,
      signal,
      limit_ms: PULL_LIMIT_MS,
    });
    for await (const line of createInterface({ input: stream })) {
      const { error } = JSON.parse(line) as { error?: unknown };
      if (typeof error === 'string') throw new BackendFault(cannotBeHad(image, error));
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof BackendFault) throw error;
    throw new BackendFault(cannotBeHad(image, error instanceof Error ? error.message : 'no answer'), {
      cause: error,
    });
  }
}

const cannotBeHad = (image: string, why: string) =>
  `The image ${image} is not on the Docker daemon's machine and cannot be pulled: ${why}`;
