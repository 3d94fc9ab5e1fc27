/** What came out of the boot benchmark, as the table of docs/performance.md. */
import { machine, spread, writeReport } from '../support/page.ts';

/** Milliseconds from the start of the process to its first good answer. */
export type BootRound = {
  bare: number;
  /** `first`: with an empty compile cache. */
  orchestrator_first: number;
  orchestrator: number;
  engine_first: number;
  /** With a new brain, and again with the same, as after a hibernation. */
  engine_new: number;
  engine_again: number;
};

/** Longest start of the orchestrator that will do, milliseconds. */
const GOAL_MS = 2_000;

export async function writeBootReport(rounds: BootRound[], fleet: number): Promise<void> {
  const systems: Record<keyof BootRound, string> = {
    bare: 'bare HTTP server',
    orchestrator_first: `orchestrator, ${fleet.toLocaleString('en')} engines, compile cache empty`,
    orchestrator: `orchestrator, ${fleet.toLocaleString('en')} engines`,
    engine_first: 'Engine, new brain, compile cache empty',
    engine_new: 'Engine, new brain',
    engine_again: 'Engine, the same brain again',
  };
  const rows = (Object.keys(systems) as (keyof BootRound)[]).map((system) => {
    const times = rounds.map((round) => round[system]);
    const ratios = rounds.map((round) => round[system] / round.bare);
    return `| ${systems[system]} | ${spread(times, 0)} | ${spread(ratios, 1)} |`;
  });
  const reached = rounds.filter(({ orchestrator }) => orchestrator <= GOAL_MS).length;
  const goal = `Goal: the orchestrator within ${GOAL_MS} ms; reached in ${reached} of ${rounds.length} rounds.`;
  await writeReport(
    'boot',
    `${goal} ${machine()}\n\n| started | ms to the first answer | × bare |\n| --- | ---: | ---: |\n${rows.join('\n')}`,
  );
}
