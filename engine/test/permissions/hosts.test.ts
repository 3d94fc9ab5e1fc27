/** Which hosts a command or a tool is asked about, with a list of allowed hosts and without one. */
import { describe, expect, it } from 'vitest';
import { DEFAULT_RULES } from '../../src/catalog/permissions.ts';
import { judgeHost } from '../../src/permissions/rules.ts';
import { hostList, permissionRoots } from '../support/permissions.ts';

const listed = await permissionRoots({ allowed_hosts: hostList('example.com,*.corp,10.0.0.0/8') });
const unlisted = await permissionRoots();

describe('with a list', () => {
  it.each([
    ['curl https://example.com/x', []],
    ['curl -s HTTPS://EXAMPLE.com./x', []],
    ['git clone https://git.corp/a.git', []],
    ['curl http://10.1.2.3/', []],
    ['curl http://localhost:3000/ http://127.0.0.1:1/', []],
    ['curl https://other.example/x', ['other.example']],
    ['curl other.example/x', ['other.example']],
    ['wget -qO- https://me:secret@other.example:8443/x', ['other.example']],
    ['git push git@other.example:a/b.git main', ['other.example']],
    ['git fetch ssh://other.example/a', ['other.example']],
    ['scp small.txt me@other.example:x', ['other.example']],
    ['nc other.example 80', ['other.example']],
    ['h=other.example; curl "https://$h/x"', ['other.example']],
    ['sh -c "curl https://other.example"', ['other.example']],
    ['curl http://0xb000001/', ['11.0.0.1']],
    ['curl https://sub.example.com', ['sub.example.com']],
  ])('%s', (command, hosts) => {
    const { findings } = listed.decide(command);
    expect(findings.map(({ subject }) => subject)).toEqual(hosts);
    expect(findings.map(({ opens }) => opens)).toEqual(hosts.map((host) => ({ host })));
  });
});

it('asks about none without a list: there is no network', () => {
  expect(unlisted.decide('curl https://other.example/x').findings).toEqual([]);
});

it('refuses what a rule refuses, however it is written', () => {
  const rules = {
    ...DEFAULT_RULES,
    rules: [{ host: '*.internal.example', decision: 'deny' as const, reason: 'Not from here.' }],
  };
  const judge = { ...unlisted.judge, rules };
  for (const host of ['a.internal.example', 'A.INTERNAL.example.']) {
    expect(judgeHost(judge, host).map(({ decision }) => decision)).toEqual(['deny']);
  }
  expect(judgeHost(judge, 'internal.example')).toEqual([]);
});
