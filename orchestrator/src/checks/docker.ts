/** Looks at the Docker daemon that engines run on: does it answer, has it the image, is the engines' network closed? */
import { z } from 'zod';
import { isDocker, openDockerApi } from '../backends/docker/api.ts';
import type { DockerConfig } from '../config.ts';
import type { Finding } from './finding.ts';

/** API of Docker Engine 20.10, the oldest that is tested. */
const MIN_API = 1.41;

const check = 'docker';

const Server = z.object({ Version: z.string(), ApiVersion: z.string() });
const Network = z.object({ Options: z.record(z.string(), z.string()).nullable() });

/** Everything of the daemon; where it does not answer, that alone. */
export async function checkDocker(config: DockerConfig, image: string): Promise<Finding[]> {
  const docker = openDockerApi(config.host);
  /** What it says at `path`; null where there is no such thing. */
  const look = (path: string) =>
    docker.call({ method: 'GET', path }).catch((error) => {
      if (isDocker(error, 'gone')) return null;
      throw error;
    });
  try {
    const server = checkVersion(Server.parse(await look('/version')));
    const seen_image = await look(`/images/${image}/json`);
    const network = await look(`/networks/${config.network}`);
    return [server, checkImage(image, seen_image !== null), checkNetwork(config.network, network)];
  } catch (error) {
    const found = error instanceof Error ? error.message : 'The Docker daemon does not answer.';
    const advice = `Is it up, is DOCKER_HOST right (${config.host}), and may this user use it?`;
    return [{ check, verdict: 'problem', found, advice }];
  } finally {
    docker.close();
  }
}

function checkVersion({ Version, ApiVersion }: z.infer<typeof Server>): Finding {
  if (Number(ApiVersion) >= MIN_API) {
    return { check, verdict: 'ok', found: `Docker Engine ${Version} answers.` };
  }
  const found = `Docker Engine ${Version} is too old.`;
  return { check, verdict: 'problem', found, advice: 'Upgrade it to 20.10 or newer.' };
}

function checkImage(image: string, is_there: boolean): Finding {
  if (is_there) return { check, verdict: 'ok', found: `The image ${image} is there.` };
  const advice = 'Build or pull it, or name another with ORCH_ENGINE_IMAGE; the first start would pull it.';
  return { check, verdict: 'warning', found: `The image ${image} is not there.`, advice };
}

function checkNetwork(name: string, seen: unknown): Finding {
  if (seen === null) return { check, verdict: 'ok', found: `The network ${name} will be made.` };
  const { Options } = Network.parse(seen);
  if (Options?.['com.docker.network.bridge.enable_icc'] === 'false') {
    return { check, verdict: 'ok', found: `Engines on the network ${name} do not reach each other.` };
  }
  return {
    check,
    verdict: 'warning',
    found: `Engines on the network ${name} reach each other.`,
    advice:
      'Remove it while no engine runs: it is made anew, with com.docker.network.bridge.enable_icc=false.',
  };
}
