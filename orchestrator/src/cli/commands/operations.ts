import { z } from 'zod';
import { openApi } from '../api.ts';
import type { Command } from '../command.ts';
import { facts } from '../text.ts';

const Operation = z.looseObject({ engine_id: z.string(), status: z.string() });

export const operations: Command = {
  words: ['operations'],
  args: ['id'],
  options: {},
  summary: 'What became of one operation: a provision, start, stop, rotation …',
  example: 'bap-engine operations 5c2f0a4e-8f0b-4d53-9d5d-0d6f3a2b1c00',
  async run(given, io) {
    const api = await openApi(io);
    const path = `/operations/${encodeURIComponent(given.arg('id'))}`;
    const answer = await api.call('GET', path, Operation);
    return {
      json: answer,
      people: () => facts(answer),
      next: [`bap-engine audit --engine=${answer.engine_id}`],
    };
  },
};
