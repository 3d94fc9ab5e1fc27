import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { seccompFilter } from '../src/sandbox/seccomp.ts';

const ALLOW = 0x7fff0000;
const KILL = 0x80000000;
const EPERM = 0x50001;
const ENOSYS = 0x50000 | 38;
const EAFNOSUPPORT = 0x50000 | 97;

type Call = { arch: number; number: number; args?: number[] };

/** What the kernel would do: the few instructions that the filter is made of, run over one call. */
function answerTo(filter: Buffer, { arch, number, args = [] }: Call): number {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(number, 0);
  data.writeUInt32LE(arch, 4);
  for (const [index, value] of args.entries()) data.writeUInt32LE(value >>> 0, 16 + 8 * index);
  let accumulator = 0;
  for (let at = 0; at < filter.length; at += 8) {
    const [code, value] = [filter.readUInt16LE(at), filter.readUInt32LE(at + 4)];
    const jump = (yes: boolean) => 8 * filter.readUInt8(at + (yes ? 2 : 3));
    if (code === 0x06) return value;
    if (code === 0x20) accumulator = data.readUInt32LE(value);
    else if (code === 0x15) at += jump(accumulator === value);
    else if (code === 0x35) at += jump(accumulator >= value);
    else if (code === 0x45) at += jump((accumulator & value) !== 0);
    else throw new Error(`unknown instruction ${code}`);
  }
  throw new Error('the filter has no end');
}

const MACHINES = [
  {
    arch: 'x64',
    audit: 0xc000003e,
    ptrace: 101,
    mount: 165,
    bpf: 321,
    clone: 56,
    ioctl: 16,
    socket: 41,
    read: 0,
  },
  {
    arch: 'arm64',
    audit: 0xc00000b7,
    ptrace: 117,
    mount: 40,
    bpf: 280,
    clone: 220,
    ioctl: 29,
    socket: 198,
    read: 63,
  },
];

describe.each(MACHINES)('the filter of $arch', ({ arch, audit, ...calls }) => {
  const filter = seccompFilter(arch) ?? Buffer.alloc(0);
  const answer = (number: number, ...args: number[]) => answerTo(filter, { arch: audit, number, args });

  it('refuses what is on the list and lets everyday calls through', () => {
    for (const number of [calls.ptrace, calls.mount, calls.bpf]) expect(answer(number)).toBe(EPERM);
    expect(answer(calls.read)).toBe(ALLOW);
  });

  it('lets processes and threads be made, but no namespace with them', () => {
    expect(answer(calls.clone, 17)).toBe(ALLOW);
    expect(answer(calls.clone, 0x3d0f00)).toBe(ALLOW);
    for (const flag of [0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]) {
      expect(answer(calls.clone, flag | 17), flag.toString(16)).toBe(EPERM);
    }
    expect(answer(435)).toBe(ENOSYS);
  });

  it('lets no one type into a terminal', () => {
    expect([0x5401, 0x5412, 0x541c].map((request) => answer(calls.ioctl, 0, request))).toEqual([
      ALLOW,
      EPERM,
      EPERM,
    ]);
  });

  it('lets sockets be made of four families', () => {
    const allowed = Array.from({ length: 64 }, (_, family) => family).filter(
      (family) => answer(calls.socket, family) === ALLOW,
    );
    expect(allowed).toEqual([1, 2, 10, 16]);
    expect(answer(calls.socket, 40)).toBe(EAFNOSUPPORT);
  });

  it('kills programs of other machines, and knows no call that is younger than its list', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), (other, number) => {
        if (other !== audit) expect(answerTo(filter, { arch: other, number })).toBe(KILL);
        if (number > 469) expect(answer(number)).toBe(ENOSYS);
      }),
    );
    expect(answer(0x40000000 | calls.read)).toBe(ENOSYS);
  });
});

it('there is none for a machine whose numbers are not known', () => {
  expect(seccompFilter('riscv64')).toBeUndefined();
});
