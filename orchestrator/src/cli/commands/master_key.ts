import { rotateMasterKeys } from '../../registry/master_keys.ts';
import type { Command } from '../command.ts';
import { withDatabase } from '../surroundings.ts';

export const rotateMasterKey: Command = {
  words: ['rotate-master-key'],
  args: [],
  options: {},
  summary: 'Seal every engine key anew with the first key of ORCH_MASTER_KEY.',
  detail:
    'First every orchestrator gets the new list, new key first, old key behind; then this; then the old key goes. Runs beside them, can be interrupted and run again.',
  example: 'bap-engine rotate-master-key',
  run: (_given, io) =>
    withDatabase(io, async (db, { master_keys }) => {
      const onProgress = (done: number, total: number) => io.progress(`${done} of ${total} looked at …`);
      const changed = await rotateMasterKeys(db, master_keys, { onProgress });
      return {
        json: changed,
        people: () => `Sealed anew: ${changed.engines} engine keys, ${changed.answers} kept answers.`,
        next: ['take the old key out of ORCH_MASTER_KEY of every orchestrator', 'bap-engine doctor'],
      };
    }),
};
