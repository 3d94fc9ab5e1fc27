/** `npm run bench -- NAME`: runs one benchmark. `--quick` shows figures after one short round and writes no page. */
import { parseArgs } from 'node:util';
import { benchAdmit } from './admit.ts';
import { benchAudit } from './audit.ts';
import { benchBoot } from './boot.ts';
import { benchContainers } from './containers.ts';
import { benchRateLimit } from './rate_limit.ts';
import { benchStreams } from './streams.ts';
import { benchTurn } from './turn.ts';

const BENCHMARKS: Record<string, (options: { quick: boolean }) => Promise<void>> = {
  admit: benchAdmit,
  audit: benchAudit,
  boot: benchBoot,
  containers: benchContainers,
  rate_limit: benchRateLimit,
  streams: benchStreams,
  turn: benchTurn,
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { quick: { type: 'boolean', default: false } },
});
const bench = BENCHMARKS[positionals[0] ?? ''];
if (bench === undefined) {
  console.error(`usage: npm run bench -- ${Object.keys(BENCHMARKS).join('|')} [--quick]`);
  process.exit(2);
}
await bench(values);
