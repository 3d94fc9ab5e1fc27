/**
 * Lists of hosts, as an operator writes them.
 *
 * One host has many spellings: `127.1`, `0x7f000001` and `2130706433` are all the loopback, `EXAMPLE.com.` is
 * `example.com`. A list that compares text is walked round with the next spelling. So both sides are brought into
 * the one form in which a URL has its host, and only then compared. Source: operations, "Sandbox".
 */
import { BlockList, isIP } from 'node:net';

export type HostList = { names: ReadonlySet<string>; suffixes: readonly string[]; addresses: BlockList };

/** What could end a host and begin another part of a URL, or be decoded into something else. */
const NO_HOST = /[\s/\\?#@%]/;

/**
 * A host as URLs have it: lower case, IDN as punycode, addresses in their usual form, IPv6 without brackets, no dot at
 * the end. Undefined for what is no host.
 */
export function canonicalHost(host: string): string | undefined {
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
  const is_v6 = isIP(bare) === 6;
  if (NO_HOST.test(bare) || (bare.includes(':') && !is_v6)) return undefined;
  const url = URL.parse(`http://${is_v6 ? `[${bare}]` : bare}/`);
  if (url === null || url.hostname === '') return undefined;
  return is_v6 ? url.hostname.slice(1, -1) : url.hostname.replace(/\.$/, '');
}

/**
 * @param text Entries separated by commas: `example.com`, `*.example.com` (all below it, not itself), an address, or a
 *   range such as `10.0.0.0/8`.
 * @returns the list, or the entry that is none of these.
 */
export function parseHosts(text: string): HostList | { bad: string } {
  const names = new Set<string>();
  const suffixes: string[] = [];
  const addresses = new BlockList();
  for (const entry of text.split(',').map((part) => part.trim())) {
    if (entry === '') continue;
    const [start = '', prefix, ...more] = entry.split('/');
    const family = isIP(start) === 6 ? 'ipv6' : 'ipv4';
    if (prefix !== undefined) {
      const bits = /^\d{1,3}$/.test(prefix) ? Number(prefix) : Number.NaN;
      const is_range = isIP(start) !== 0 && more.length === 0 && bits <= (family === 'ipv6' ? 128 : 32);
      if (!is_range) return { bad: entry };
      addresses.addSubnet(start, bits, family);
    } else if (isIP(start) !== 0) {
      addresses.addAddress(start, family);
    } else {
      const below = entry.startsWith('*.');
      const name = canonicalHost(below ? entry.slice(2) : entry);
      if (name === undefined || name.includes('*') || isIP(name) !== 0) return { bad: entry };
      if (below) suffixes.push(`.${name}`);
      else names.add(name);
    }
  }
  return { names, suffixes, addresses };
}

/** Whether `host`, a name or an address in whatever spelling, is on the list. A name is not looked up. */
export function isAllowedHost(host: string, list: HostList): boolean {
  const name = canonicalHost(host);
  if (name === undefined) return false;
  const version = isIP(name);
  if (version !== 0) return list.addresses.check(name, version === 6 ? 'ipv6' : 'ipv4');
  return list.names.has(name) || list.suffixes.some((suffix) => name.endsWith(suffix));
}
