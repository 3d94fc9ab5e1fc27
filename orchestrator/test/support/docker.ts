/**
 * Docker as a test looks at it: its API, asked directly and never through the backend, so that the backend cannot
 * testify for itself. `DOCKER_HOST` as for everybody else; a local socket only.
 */
import { request } from 'node:http';

export const DOCKER_HOST = process.env.DOCKER_HOST || 'unix:///var/run/docker.sock';
/** The image that `npm run test:docker` makes of stand_in_engine.ts. */
export const STAND_IN_IMAGE = 'stand-in-engine:test';

export const socketOf = (host: string) => host.replace('unix://', '');

export type DockerAnswer = { status: number; body: Buffer };

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into freely by assertions
type Json = any;

/** One call; `body` is sent as JSON, a `Buffer` as it is. */
export function askDocker(
  method: string,
  path: string,
  options: { body?: object; host?: string } = {},
): Promise<DockerAnswer> {
  const { body, host = DOCKER_HOST } = options;
  const content = body === undefined || Buffer.isBuffer(body) ? body : Buffer.from(JSON.stringify(body));
  const type = Buffer.isBuffer(body) ? 'application/x-tar' : 'application/json';
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: socketOf(host), method, path, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    if (content !== undefined)
      sent.setHeader('content-type', type).setHeader('content-length', content.length);
    sent.end(content);
  });
}

/** The same where anything but success is an error; gives the answer as JSON. */
export async function docker(
  method: string,
  path: string,
  options: { body?: object; host?: string } = {},
): Promise<Json> {
  const { status, body } = await askDocker(method, path, options);
  if (status >= 400) throw new Error(`${method} ${path} gave ${status} ${body}`);
  return body.length === 0 ? null : JSON.parse(body.toString());
}

const filter = (label: string) => `filters=${encodeURIComponent(JSON.stringify({ label: [label] }))}`;

/** What `docker inspect` says of all containers with a label. */
export async function containersWith(label: string, host?: string): Promise<Json[]> {
  const listed: { Id: string }[] = await docker('GET', `/containers/json?all=true&${filter(label)}`, {
    host,
  });
  const answers = await Promise.all(
    listed.map(({ Id }) => askDocker('GET', `/containers/${Id}/json`, { host })),
  );
  // One that was removed since is none.
  return answers.filter(({ status }) => status === 200).map(({ body }) => JSON.parse(body.toString()));
}

export async function volumesWith(
  label: string,
  host?: string,
): Promise<{ Name: string; Labels: Record<string, string> }[]> {
  return (await docker('GET', `/volumes?${filter(label)}`, { host })).Volumes ?? [];
}

/** Removes everything with a label: containers, volumes, networks. */
export async function removeAllWith(label: string, host?: string): Promise<void> {
  for (const { Id } of await containersWith(label, host)) {
    await askDocker('DELETE', `/containers/${Id}?force=true`, { host });
  }
  for (const { Name } of await volumesWith(label, host)) {
    await askDocker('DELETE', `/volumes/${Name}?force=true`, { host });
  }
  const networks: { Id: string }[] = await docker('GET', `/networks?${filter(label)}`, { host });
  for (const { Id } of networks) await askDocker('DELETE', `/networks/${Id}`, { host });
}

/** What a container has printed. */
export async function logsOf(id: string, host?: string): Promise<string> {
  const { body } = await askDocker('GET', `/containers/${id}/logs?stdout=true&stderr=true`, { host });
  let text = '';
  for (let at = 0; at + 8 <= body.length; ) {
    const length = body.readUInt32BE(at + 4);
    text += body.toString('utf8', at + 8, at + 8 + length);
    at += 8 + length;
  }
  return text;
}
