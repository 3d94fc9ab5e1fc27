/** What came out of the container benchmark, as the table of docs/performance.md. */
import { machine, spread, writeReport } from '../support/page.ts';

/** Milliseconds. */
export type ContainerRound = {
  /** Until the last of all was healthy. */
  run: number;
  provision: number;
  /** One, until it answers. */
  unpause: number;
  doze: number;
  start: number;
  hibernate: number;
};

export async function writeContainersReport(rounds: ContainerRound[], at_once: number): Promise<void> {
  const pairs: { what: string; bare: string; floor: keyof ContainerRound; ours: keyof ContainerRound }[] = [
    { what: `${at_once} provisions at once`, bare: '`docker run`', floor: 'run', ours: 'provision' },
    { what: 'a wake from a doze', bare: '`docker unpause`', floor: 'unpause', ours: 'doze' },
    { what: 'a wake from a hibernation', bare: '`docker start`', floor: 'start', ours: 'hibernate' },
  ];
  const rows = pairs.map(({ what, bare, floor, ours }) => {
    const times = (system: keyof ContainerRound) =>
      spread(
        rounds.map((round) => round[system]),
        0,
      );
    const ratios = spread(
      rounds.map((round) => round[ours] / round[floor]),
      2,
    );
    return `| ${what} | ${times(ours)} | ${bare} and health | ${times(floor)} | ${ratios} |`;
  });
  await writeReport(
    'containers',
    `All provisions succeeded. ${machine()}\n\n| what | ms | floor | ms | ratio |\n| --- | ---: | --- | ---: | ---: |\n${rows.join('\n')}`,
  );
}
