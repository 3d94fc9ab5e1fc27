/**
 * The way out for whatever the Engine fetches because a model said so.
 *
 * The problem: the Engine stands inside a network, and a model can be talked into anything. `http://169.254.169.254/`
 * gives away the machine's credentials, `http://localhost:5432/` reaches what trusts its neighbours; a name can lead
 * there too, a redirect, or a name that leads elsewhere the second time it is asked (rebinding).
 *
 * The rule: only addresses of the public internet, and what an operator has named, are connected to. The check stands
 * where the connection is made, on the very addresses it is made to, so there is no second look-up between them and
 * no way round: literal addresses, reused connections and each redirect pass it alike. What is not known to be public
 * is refused, not the other way round. Source: engine-runtime, "Platform tools"; operations, "Security".
 */
import { lookup, Resolver } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Agent, Response } from 'undici';
import { systemCode } from '../errors.ts';
import { canonicalHost, type HostList, isAllowedHost } from './hosts.ts';

/** Redirects in a row; more is a loop. */
const MAX_REDIRECTS = 5;

const CONNECT_TIMEOUT_MS = 10_000;

/** To the first byte of an answer, and between two. */
const SILENCE_MS = 15_000;

/** Of an answer's header, bytes. */
const MAX_HEADER_BYTES = 16 * 1024;

/** Per name server and try. */
const DNS_TIMEOUT_MS = 3_000;
const DNS_TRIES = 2;

export type Address = { address: string; family: 4 | 6 };

/**
 * `refused`: not allowed to go there. `invalid`: no URL that can be fetched. `unreachable`: nobody answers there. The
 * message is for the model: it names no address that a name was found to have.
 */
export class NoWay extends Error {
  override name = 'NoWay';
  readonly reason: 'refused' | 'invalid' | 'unreachable';

  constructor(reason: NoWay['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

export type Guard = {
  /**
   * Addresses of a host (a name, or an address in any spelling) that may be connected to; never empty. Connect to these,
   * not to the name, or the check is void.
   * @throws NoWay when any of them may not.
   */
  addressesOf(host: string): Promise<Address[]>;
  /**
   * GET. Redirects within the host, and between `example.com` and `www.example.com`, are followed; one that leads to
   * another host is the caller's to decide, as the host that was agreed to is not the one that would be asked. Whoever
   * takes the answer reads or cancels its body; `signal` ends both. Ports are not restricted, but those of other
   * protocols that no browser goes to either.
   * @throws NoWay, or `signal.reason`.
   */
  fetch(url: string, options: { headers?: Record<string, string>; signal: AbortSignal }): Promise<Fetched>;
};

/**
 * `url`: where the answer came from in the end. `elsewhere`: the other host's URL that it redirects to; then there is no
 * body any more.
 */
export type Fetched = { url: URL; response: Response; elsewhere: URL | undefined };

/** All addresses of a name, empty for none. */
export type Resolve = (host: string) => Promise<string[]>;

/** `allowed`: what may be reached although it is not public: a name wherever it leads, an address under any name. */
export function createGuard(allowed: HostList, resolve: Resolve = askDns): Guard {
  let agent: Promise<Agent> | undefined;

  async function addressesOf(host: string): Promise<Address[]> {
    const name = canonicalHost(host);
    if (name === undefined) throw new NoWay('invalid', `${JSON.stringify(host)} is no host.`);
    const is_allowed = isAllowedHost(name, allowed);
    const find = is_allowed ? askSystem : resolve;
    const found = isIP(name) === 0 ? await find(name) : [name];
    if (found.length === 0) throw new NoWay('unreachable', `There is no host ${name}.`);
    for (const address of is_allowed ? [] : found) {
      const kind = checkAddress(address, allowed);
      if (kind !== 'public') {
        throw new NoWay('refused', `${name} is not on the public internet (${kind}), so it is not asked.`);
      }
    }
    return found.map((address) => ({ address, family: isIP(address) === 6 ? 6 : 4 }));
  }

  async function openAgent(): Promise<Agent> {
    const { Agent, buildConnector } = await import('undici');
    return new Agent({
      connect: (options, callback) => {
        addressesOf(options.hostname).then(
          (found) =>
            buildConnector({ lookup: pinned(found), timeout: CONNECT_TIMEOUT_MS })(options, callback),
          (error) => callback(error, null),
        );
      },
      headersTimeout: SILENCE_MS,
      bodyTimeout: SILENCE_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
    });
  }

  return {
    addressesOf,

    async fetch(text, { headers = {}, signal }) {
      const { fetch } = await import('undici');
      agent ??= openAgent();
      let url = readUrl(text);
      for (let redirects = 0; ; redirects++) {
        const response = await fetch(url, {
          headers,
          signal,
          dispatcher: await agent,
          redirect: 'manual',
        }).catch((error: unknown) => {
          signal.throwIfAborted();
          throw wayOf(url, error);
        });
        const location = REDIRECTS.has(response.status) ? response.headers.get('location') : null;
        if (location === null) return { url, response, elsewhere: undefined };
        await response.body?.cancel();
        const next = readUrl(location, url);
        if (siteOf(next) !== siteOf(url)) return { url, response, elsewhere: next };
        if (redirects === MAX_REDIRECTS) {
          throw new NoWay('unreachable', `${text} redirects more than ${MAX_REDIRECTS} times.`);
        }
        url = next;
      }
    },
  };
}

/** Answers every look-up with these addresses. A literal address is connected to without one. */
function pinned(found: Address[]): LookupFunction {
  return (_, options, callback) => {
    const [first] = found;
    if (options.all) callback(null, found);
    else callback(null, first?.address ?? '', first?.family);
  };
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);

const siteOf = ({ hostname }: URL) => hostname.replace(/\.$/, '').replace(/^www\./, '');

/** @throws NoWay for what is no http or https URL, or carries a name and password. */
function readUrl(text: string, base?: URL): URL {
  const url = URL.parse(text, base?.href);
  if (url === null) throw new NoWay('invalid', `${JSON.stringify(text)} is no URL.`);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new NoWay('invalid', `Only http and https can be fetched, not ${url.protocol}`);
  }
  if (url.username !== '' || url.password !== '') {
    throw new NoWay('invalid', 'A URL with a user name or password in it is not fetched.');
  }
  return url;
}

/** What became of a request that has no answer. */
function wayOf(url: URL, error: unknown): NoWay {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (cause instanceof NoWay) return cause;
  const why = systemCode(cause) ?? (cause instanceof Error ? cause.name : 'unknown');
  return new NoWay('unreachable', `${url.host} gave no answer (${why}).`);
}

/** Metadata services of clouds at addresses that look public: Azure's. All others are link-local, private or reserved. */
const METADATA = new Set(['168.63.129.16']);

/** All that the public internet has of IPv6 (RFC 4291, IANA): the rest is not assigned. */
const GLOBAL_UNICAST: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('2000::'), 3];

/** Where an IPv6-only network reaches IPv4 (RFC 6052); other prefixes are a network's own and lead anywhere. */
const NAT64: [ipaddr.IPv6, number] = [ipaddr.IPv6.parse('64:ff9b::'), 96];

/** What kind of address this is: `public`, or, in the words of the registries, why it is not, such as `loopback`. */
export function checkAddress(text: string, allowed: HostList): string {
  if (isAllowedHost(text, allowed)) return 'public';
  if (isIP(text) === 0) return 'unknown';
  const address = ipaddr.process(text);
  if (address instanceof ipaddr.IPv6 && address.match(NAT64)) {
    return checkAddress(new ipaddr.IPv4(address.toByteArray().slice(12)).toString(), allowed);
  }
  if (METADATA.has(address.toString())) return 'metadata';
  const range = address.range();
  if (range !== 'unicast') return range;
  return address instanceof ipaddr.IPv4 || address.match(GLOBAL_UNICAST) ? 'public' : 'unassigned';
}

/**
 * By DNS alone: no hosts file and no search domain, so that a name means the same as it does outside. Unlike the
 * system's own look-up it holds none of the few threads that also write the brain; a page full of names that nobody
 * answers for would.
 */
async function askDns(host: string): Promise<string[]> {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: DNS_TRIES });
  const found = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
  return found.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
}

/** For names that an operator has named: as the system finds them, hosts file and search domains included. */
async function askSystem(host: string): Promise<string[]> {
  const found = await lookup(host, { all: true }).catch(() => []);
  return found.map(({ address }) => address);
}
