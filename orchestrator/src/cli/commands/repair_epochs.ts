import { fencesOf } from '../../backends/open.ts';
import { outdatedEpochs, repairEpochs } from '../../registry/epochs.ts';
import type { Command } from '../command.ts';
import { withDatabase } from '../surroundings.ts';
import { table } from '../text.ts';
import { requireYes } from './products.ts';

export const repairEpochsCommand: Command = {
  words: ['repair-epochs'],
  args: [],
  options: { yes: { meaning: 'Do it; without, it is only said how many there are.' } },
  summary: "After a restored backup: raise the registry's epochs to what the engines have seen.",
  detail:
    'Until then such engines are refused to boot. Be sure that no other orchestrator runs them with a newer registry. Audited as epoch_repaired.',
  example: 'bap-engine repair-epochs --yes',
  run: (given, io) =>
    withDatabase(io, async (db, config) => {
      const outdated = await outdatedEpochs(db, await fencesOf(config));
      if (outdated.length > 0)
        requireYes(given, `${outdated.length} engines are behind what they have seen.`);
      const engines = await repairEpochs(db, outdated);
      return {
        json: { engines },
        people: (width) =>
          engines.length === 0
            ? 'No epoch is behind.'
            : table(
                ['ENGINE', 'FROM', 'TO'],
                engines.map((one) => [one.engine_id, one.epoch, one.seen]),
                width,
              ),
        next: engines.length === 0 ? [] : ['bap-engine doctor'],
      };
    }),
};
