/**
 * What an engine reaches that has been taken over: from a shell in its container, as its user and as root in its network.
 *
 * Something listens behind every address that is tried, and the same tries are made with the rules taken away: then they
 * get through, or the test would only say that nobody was at home. For the internet and for the places where clouds
 * hand out credentials stand networks of this machine that carry their addresses.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Deployment, docker, newDeployment } from './support/deployment.ts';
import { type Engine, registerProduct } from './support/products.ts';

const probe = await readFile(join(import.meta.dirname, 'support/probe.mjs'), 'utf8');

/** Where something listens on port 80, by what it stands for. */
const PLACES = { internet: '203.0.113.7', metadata: '169.254.169.254', private: '198.18.77.7' };
type Place = keyof typeof PLACES;

let deployment: Deployment;
let engines: Engine[];
let host: Server;
let hostPort: number;
/** Addresses by which this machine could be reached from a container, with the port of `host`. */
let hostTargets: string[];

const containerOf = (engine: Engine | undefined) => `engine-${engine?.engine_id.slice(0, 12)}`;
const place = (name: Place) => `${PLACES[name]}:80`;
const networkOf = (name: string) => `${deployment.project}-${name}`;

/** Which of `targets` a connection is taken at, from inside a container. */
async function reached(container: string, targets: string[], ...options: string[]): Promise<string[]> {
  return JSON.parse(
    await withInput(probe, [
      ...['exec', '-i', ...options, container],
      ...['node', '--input-type=module', '-', ...targets],
    ]),
  );
}

/** As root, though without what root may do elsewhere, in the container's network. */
const reachedAsRoot = (container: string, targets: string[]) => reachedIn(`container:${container}`, targets);

async function reachedIn(network: string, targets: string[]): Promise<string[]> {
  return JSON.parse(
    await withInput(probe, [
      ...['run', '--rm', '-i', '--network', network, '--user', '0:0', '--cap-drop', 'ALL'],
      ...['--entrypoint', 'node', 'bap-engine:test', '--input-type=module', '-', ...targets],
    ]),
  );
}

function withInput(input: string, args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile('docker', args, (error, stdout) => (error ? reject(error) : resolve(stdout)));
    child.stdin?.end(input);
  });
}

/** A program of deploy/firewall.sh's surroundings: the host's network, and the right to change its rules. */
const inHostNetwork = (...command: string[]) =>
  docker(
    ...['run', '--rm', '--network', 'host', '--user', '0:0', '--cap-drop', 'ALL', '--cap-add', 'NET_ADMIN'],
    ...['-e', `ENGINE_BRIDGE=${deployment.bridge}`],
    ...['-v', `${deployment.folder}/deploy/firewall.sh:/firewall.sh:ro`, 'bap-engine:test', ...command],
  );

/** Docker keeps its networks apart. Behind our rules, whatever they let through to these places passes, and its answers. */
const openPlaces = (how: '-I' | '-D') =>
  inHostNetwork(
    'sh',
    '-euc',
    [
      `-o ${deployment.bridge} -m conntrack --ctstate ESTABLISHED`,
      ...Object.values(PLACES).map((address) => `-i ${deployment.bridge} -d ${address}`),
    ]
      .map((rule) => `iptables -w 5 ${how} DOCKER-USER ${rule} -j ACCEPT`)
      .join('\n'),
  );

const addressOf = async (container: string, network: string) =>
  await docker('inspect', '-f', `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`, container);

/** Everything that no engine has any business with, but what Docker itself keeps from it. */
const closed = () => [...hostTargets, place('metadata'), place('private')];

beforeAll(async () => {
  deployment = await newDeployment(() => ({ ENGINE_ALLOWED_PRIVATE: '198.18.77.7:81' }));
  host = createServer((socket) => socket.destroy()).listen(0, '0.0.0.0');
  await deployment.start();
  const product = await registerProduct(deployment);
  engines = await Promise.all(['ada', 'grace'].map((user) => product.admit(user)));

  const address = host.address();
  hostPort = address !== null && typeof address === 'object' ? address.port : 0;
  // Bridges of others come and go.
  hostTargets = Object.entries(networkInterfaces())
    .filter(([name]) => name === deployment.bridge || !/^(br|sept)-/.test(name))
    .flatMap(([, all]) => all ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map((one) => `${one.address}:${hostPort}`);

  for (const [name, one] of Object.entries(PLACES)) {
    await docker('network', 'create', '--subnet', one.replace(/\d+$/, '0/24'), networkOf(name));
  }
  const listen = "for (const port of [80, 81]) require('net').createServer((s) => s.destroy()).listen(port)";
  for (const [name, one] of Object.entries(PLACES)) {
    await docker(
      ...['run', '-d', '--name', networkOf(name), '--network', networkOf(name), '--ip', one],
      ...['--entrypoint', 'node', 'bap-engine:test', '-e', listen],
    );
  }
  await openPlaces('-I');
  // Ours come first again; what was just added stands behind them, as an operator's own rules would.
  await docker('exec', await deployment.container('firewall'), 'sh', '/firewall.sh', 'up');
}, 120_000);

afterAll(async () => {
  host.close();
  try {
    await openPlaces('-D');
    for (const name of Object.keys(PLACES)) {
      await docker('rm', '-f', networkOf(name));
      await docker('network', 'rm', networkOf(name));
    }
  } finally {
    await deployment.remove();
  }
}, 120_000);

describe('a taken-over engine', () => {
  it('reaches the internet and what the operator has opened; nothing else', async () => {
    const [one] = engines;
    const opened = '198.18.77.7:81';
    expect(await reached(containerOf(one), [...closed(), place('internet'), opened])).toEqual([
      place('internet'),
      opened,
    ]);
    expect(await reachedAsRoot(containerOf(one), [...closed(), place('internet')])).toEqual([
      place('internet'),
    ]);
  });

  it('asks the name servers of the host', async () => {
    // One that answers says that there is no such name; where none can be reached, the error is another.
    const ask = "require('node:dns').lookup('september.invalid', (error) => console.log(error.code))";
    const answer = await docker('exec', containerOf(engines[0]), 'node', '-e', ask);
    expect(answer).toBe(await inHostNetwork('node', '-e', ask));
  });

  it('reaches no other engine, not the orchestrator, not PostgreSQL', async () => {
    const [one, other] = engines;
    const control = `${deployment.project}_control`;
    const [orchestrator, postgres] = [
      await deployment.container('orchestrator'),
      await deployment.container('postgres'),
    ];
    const targets = [
      `${containerOf(other)}:8000`,
      `${await addressOf(containerOf(other), deployment.network)}:8000`,
      `orchestrator:8000`,
      `${deployment.net}.0.2:8000`,
      `${await addressOf(orchestrator, control)}:8000`,
      `${await addressOf(postgres, control)}:5432`,
    ];
    expect(await reached(containerOf(one), targets)).toEqual([]);
    expect(await reachedAsRoot(containerOf(one), targets)).toEqual([]);
    // They are all there: the orchestrator reaches each of them.
    expect(await reached(orchestrator, targets)).toEqual(targets);
  });

  it("does not share the host's loopback", async () => {
    const loopback = [`127.0.0.1:${hostPort}`];
    expect(await reached(containerOf(engines[0]), loopback)).toEqual([]);
    expect(await reachedAsRoot(containerOf(engines[0]), loopback)).toEqual([]);
    expect(await reachedIn('host', loopback)).toEqual(loopback);
  });

  it('has no Docker socket, no IPv6, and no capability, be it root', async () => {
    const look = `
      ls /var/run/docker.sock /run/docker.sock 2>/dev/null | wc -l
      cat /proc/net/if_inet6 2>/dev/null | grep -vc ' lo$'
      grep CapEff /proc/self/status | grep -c 0000000000000000`;
    const container = containerOf(engines[0]);
    expect((await docker('exec', container, 'sh', '-c', look)).split('\n')).toEqual(['0', '0', '1']);
    const asRoot = await docker('exec', '--user', '0:0', container, 'sh', '-c', look);
    expect(asRoot.split('\n')).toEqual(['0', '0', '1']);
  });

  it('reaches all that when the rules are gone, while the orchestrator reaches no engine', async () => {
    const [one, other] = engines;
    const orchestrator = await deployment.container('orchestrator');
    await deployment.compose('stop', 'firewall');
    // It leaves them in place, because engines stand there.
    expect(await reached(containerOf(one), closed())).toEqual([]);
    await inHostNetwork('sh', '/firewall.sh', 'down');
    try {
      expect(await reached(containerOf(one), closed())).toEqual(closed());
      expect(await reached(orchestrator, [`${containerOf(one)}:8000`])).toEqual([]);
      expect(await reached(containerOf(one), [`${containerOf(other)}:8000`])).toEqual([]);
    } finally {
      await deployment.compose('start', 'firewall');
    }
    await expect.poll(() => reached(containerOf(one), closed()), { timeout: 20_000 }).toEqual([]);
    expect(await reached(orchestrator, [`${containerOf(one)}:8000`])).toEqual([`${containerOf(one)}:8000`]);
  });
});
