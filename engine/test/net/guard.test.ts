import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkAddress, createGuard, type NoWay } from '../../src/net/guard.ts';
import { type HostList, isAllowedHost, parseHosts } from '../../src/net/hosts.ts';
import { site } from '../support/site.ts';

const hosts = (text: string): HostList => {
  const list = parseHosts(text);
  if ('bad' in list) throw new Error(`No host: ${list.bad}`);
  return list;
};
const NONE = hosts('');
const { signal } = new AbortController();

const problem = (work: Promise<unknown>): Promise<NoWay> =>
  work.then(
    () => {
      throw new Error('It was let through');
    },
    (error: NoWay) => error,
  );

describe('addresses', () => {
  it.each([
    ['1.1.1.1'],
    ['93.184.215.14'],
    ['2606:4700:4700::1111'],
    ['::ffff:1.1.1.1'],
    ['64:ff9b::101:101'],
  ])('%s is public', (address) => {
    expect(checkAddress(address, NONE)).toBe('public');
  });

  it.each([
    ['127.0.0.1', 'loopback'],
    ['127.255.1.2', 'loopback'],
    ['::1', 'loopback'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['::ffff:7f00:1', 'loopback'],
    ['64:ff9b::7f00:1', 'loopback'],
    ['64:ff9b::a9fe:a9fe', 'linkLocal'],
    ['64:ff9b:1::a00:1', 'rfc6052'],
    ['10.1.2.3', 'private'],
    ['172.31.0.1', 'private'],
    ['192.168.1.1', 'private'],
    ['169.254.169.254', 'linkLocal'],
    ['fd00:ec2::254', 'uniqueLocal'],
    ['fe80::1', 'linkLocal'],
    ['fe80::1%eth0', 'linkLocal'],
    ['fec0::1', 'deprecatedSiteLocal'],
    ['100.100.100.200', 'carrierGradeNat'],
    ['168.63.129.16', 'metadata'],
    ['::ffff:168.63.129.16', 'metadata'],
    ['192.0.0.192', 'reserved'],
    ['0.0.0.0', 'unspecified'],
    ['0.1.2.3', 'unspecified'],
    ['::', 'unspecified'],
    ['::7f00:1', 'unassigned'],
    ['255.255.255.255', 'broadcast'],
    ['224.0.0.1', 'multicast'],
    ['ff02::1', 'multicast'],
    ['240.0.0.1', 'reserved'],
    ['198.18.0.1', 'reserved'],
    ['192.0.2.1', 'reserved'],
    ['203.0.113.9', 'reserved'],
    ['2001:db8::1', 'reserved'],
    ['2002:7f00:1::', '6to4'],
    ['2001:0:7f00:1::', 'teredo'],
    ['::ffff:0:127.0.0.1', 'rfc6145'],
    ['5f00::1', 'segmentRouting'],
    ['4000::1', 'unassigned'],
    ['', 'unknown'],
    ['localhost', 'unknown'],
  ])('%s is %s', (address, kind) => {
    expect(checkAddress(address, NONE)).toBe(kind);
  });

  it('none inside a refused range is public, however it is written', () => {
    const inside = fc.oneof(
      fc.tuple(fc.constant(127), fc.nat(255), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(10), fc.nat(255), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(169), fc.constant(254), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(192), fc.constant(168), fc.nat(255), fc.nat(255)),
      fc.tuple(fc.constant(100), fc.integer({ min: 64, max: 127 }), fc.nat(255), fc.nat(255)),
    );
    fc.assert(
      fc.asyncProperty(inside, async ([a, b, c, d]) => {
        const whole = ((a * 256 + b) * 256 + c) * 256 + d;
        const spellings = [
          `${a}.${b}.${c}.${d}`,
          `${whole}`,
          `0x${whole.toString(16)}`,
          `0${a.toString(8)}.${b}.${c * 256 + d}`,
          `${a}.0x${b.toString(16)}.${c}.${d}.`,
          `[::ffff:${a}.${b}.${c}.${d}]`,
          `[64:ff9b::${a}.${b}.${c}.${d}]`,
        ];
        const guard = createGuard(NONE, () => Promise.reject(new Error('An address was looked up')));
        for (const spelling of spellings) {
          expect((await problem(guard.addressesOf(spelling))).reason, spelling).toBe('refused');
        }
      }),
    );
  });
});

describe('lists of hosts', () => {
  const list = hosts(' wiki.corp, *.Internal.Example , 10.1.0.0/16, fd00::/8, 127.0.0.1, BÜCHER.example.');

  it.each([
    'wiki.corp',
    'WIKI.corp.',
    'a.internal.example',
    'a.b.internal.example',
    '10.1.255.1',
    '0xA010101',
    '[fd12::1]',
    'fd12::1',
    '2130706433',
    '::ffff:127.0.0.1',
    'xn--bcher-kva.example',
    'bücher.example',
  ])('%s is on it', (host) => {
    expect(isAllowedHost(host, list)).toBe(true);
  });

  it.each([
    'corp',
    'wiki.corp.evil.example',
    'evilwiki.corp',
    'internal.example',
    'xinternal.example',
    '10.2.0.1',
    '127.0.0.2',
    'wiki.corp/',
    'wiki.corp@evil.example',
    'wiki.corp:80',
    'wiki%2ecorp',
    'fe80::1',
    '',
    '.',
  ])('%j is not', (host) => {
    expect(isAllowedHost(host, list)).toBe(false);
  });

  it.each([
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0/8',
    'fd00::/129',
    'a/b',
    'http://x',
    '*',
    'a.*.b',
    '*.1.2.3.4',
    'x:80',
    'a b',
  ])('%j is no entry', (entry) => {
    expect(parseHosts(`ok.example,${entry}`)).toEqual({ bad: entry });
  });
});

describe('names', () => {
  it('are refused when any address of theirs is not public', async () => {
    const guard = createGuard(NONE, async () => ['1.1.1.1', '10.0.0.1']);
    const refused = await problem(guard.addressesOf('mixed.example'));
    expect(refused.reason).toBe('refused');
    expect(refused.message).not.toContain('10.0.0.1');
  });

  it('that nobody has are unreachable', async () => {
    // By real DNS, or on a machine without: this top-level domain is promised to be nobody's (RFC 6761).
    const { reason, message } = await problem(createGuard(NONE).addressesOf('nobody.invalid'));
    expect([reason, message]).toEqual(['unreachable', 'There is no host nobody.invalid.']);
  });

  it('that are allowed may lead anywhere, and are found as the system finds them', async () => {
    const guard = createGuard(hosts('localhost'), async () => []);
    const found = (await guard.addressesOf('LOCALHOST.')).map(({ address }) => address);
    expect(found).toEqual(expect.arrayContaining(['127.0.0.1']));
  });

  it('are looked up once for a connection: what was checked is what is connected to', async () => {
    // Asked again, the name leads elsewhere.
    const { port } = await site((_, response) => response.end('checked'));
    await site((_, response) => response.end('rebound'), '127.0.0.2', port);
    const answers = [['127.0.0.1'], ['127.0.0.2']];
    let asked = 0;
    const guard = createGuard(hosts('127.0.0.1'), async () => answers[asked++] ?? []);
    const { response } = await guard.fetch(`http://rebind.example:${port}/`, { signal });
    expect(await response.text()).toBe('checked');
    expect(asked).toBe(1);
  });

  it('that lead elsewhere at the next connection are refused then', async () => {
    const { port } = await site((_, response) =>
      response.writeHead(302, { Location: '/again', Connection: 'close' }).end(),
    );
    const answers = [['127.0.0.1'], ['127.0.0.2']];
    let asked = 0;
    const guard = createGuard(hosts('127.0.0.1'), async () => answers[asked++] ?? []);
    expect((await problem(guard.fetch(`http://rebind.example:${port}/`, { signal }))).reason).toBe('refused');
    expect(asked).toBe(2);
  });
});

describe('fetching', () => {
  it.each([
    ['http://127.0.0.1/', 'refused'],
    ['http://127.1/', 'refused'],
    ['http://0x7f000001/', 'refused'],
    ['http://2130706433/', 'refused'],
    ['http://0177.0.0.1/', 'refused'],
    ['http://①②⑦.⓪.⓪.①/', 'refused'],
    ['http://[::1]/', 'refused'],
    ['http://[::ffff:127.0.0.1]/', 'refused'],
    ['http://0/', 'refused'],
    ['http://169.254.169.254/latest/meta-data/', 'refused'],
    ['https://127.0.0.1/', 'refused'],
    ['http://user:pw@example.com/', 'invalid'],
    ['http://example.com@127.0.0.1/', 'invalid'],
    ['file:///etc/passwd', 'invalid'],
    ['gopher://example.com/', 'invalid'],
    ['data:text/plain,x', 'invalid'],
    ['javascript:1', 'invalid'],
    ['example.com', 'invalid'],
    ['//example.com', 'invalid'],
    ['', 'invalid'],
  ])('%s: %s', async (url, reason) => {
    const guard = createGuard(NONE, async () => []);
    expect((await problem(guard.fetch(url, { signal }))).reason).toBe(reason);
  });

  it('a refused host is never connected to', async () => {
    let connected = 0;
    const { port, server } = await site((_, response) => response.end());
    server.on('connection', () => connected++);
    const guard = createGuard(NONE, async () => ['127.0.0.1']);
    for (const host of ['127.0.0.1', 'name.example', '[::ffff:127.0.0.1]']) {
      expect((await problem(guard.fetch(`http://${host}:${port}/`, { signal }))).reason).toBe('refused');
    }
    expect(connected).toBe(0);
    const let_through = createGuard(hosts('127.0.0.0/8'), async () => ['127.0.0.1']);
    await (await let_through.fetch(`http://name.example:${port}/`, { signal })).response.text();
    expect(connected).toBe(1);
  });

  it('follows redirects within the host, and checks each', async () => {
    const { port } = await site((request, response) => {
      if (request.url === '/a') response.writeHead(301, { Location: '/b' }).end('moved');
      else if (request.url === '/b')
        response.writeHead(307, { Location: `//www.site.example:${port}/c` }).end();
      else response.end(`${request.headers.host} ${request.url}`);
    });
    const guard = createGuard(hosts('127.0.0.1'), async () => ['127.0.0.1']);
    const { url, response, elsewhere } = await guard.fetch(`http://site.example:${port}/a`, { signal });
    expect(await response.text()).toBe(`www.site.example:${port} /c`);
    expect([url.href, elsewhere]).toEqual([`http://www.site.example:${port}/c`, undefined]);

    const inside = createGuard(hosts('127.0.0.1'), async (host) => [
      host.startsWith('www.') ? '127.0.0.2' : '127.0.0.1',
    ]);
    expect((await problem(inside.fetch(`http://site.example:${port}/a`, { signal }))).reason).toBe('refused');
  });

  it('a redirect to another host is told, not followed', async () => {
    const { port } = await site((request, response) =>
      response.writeHead(302, { Location: String(request.headers['x-to']) }).end(),
    );
    const guard = createGuard(hosts('127.0.0.1'), async () => ['127.0.0.1']);
    const to = (location: string) =>
      guard.fetch(`http://site.example:${port}/`, { signal, headers: { 'X-To': location } });
    expect((await to('http://169.254.169.254/')).elsewhere?.href).toBe('http://169.254.169.254/');
    expect((await to('http://other.example/x')).elsewhere?.href).toBe('http://other.example/x');
    expect((await problem(to('file:///etc/passwd'))).reason).toBe('invalid');
    expect((await problem(to('http://a:b@site.example/'))).reason).toBe('invalid');
    expect((await problem(to('/again'))).message).toContain('more than 5 times');
  });

  it('says that nobody is there, and ends with its signal', async () => {
    const guard = createGuard(hosts('127.0.0.1'), async () => ['127.0.0.1']);
    const { port, server } = await site(() => {});
    const cancelled = new AbortController();
    const waiting = guard.fetch(`http://site.example:${port}/`, { signal: cancelled.signal });
    server.once('request', () => cancelled.abort(new Error('over')));
    await expect(waiting).rejects.toThrow('over');
    server.close().closeAllConnections();
    const { reason, message } = await problem(guard.fetch(`http://site.example:${port}/`, { signal }));
    expect([reason, message]).toEqual(['unreachable', `site.example:${port} gave no answer (ECONNREFUSED).`]);
  });
});
