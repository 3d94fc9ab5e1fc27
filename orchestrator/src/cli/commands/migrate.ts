import { migrate } from '../../registry/migrate.ts';
import type { Command } from '../command.ts';
import { withDatabase } from '../surroundings.ts';

export const migrateCommand: Command = {
  words: ['migrate'],
  args: [],
  options: {},
  summary: 'Bring the database to the schema of this version.',
  detail:
    'A start does the same. By itself it serves to migrate before the new version starts. Safe to repeat.',
  example: 'bap-engine migrate',
  run: (_given, io) =>
    withDatabase(io, async (db) => {
      const applied = await migrate(db);
      return {
        json: { applied },
        people: () =>
          applied.length === 0 ? 'The database is up to date.' : `Applied:\n${applied.join('\n')}`,
      };
    }),
};
