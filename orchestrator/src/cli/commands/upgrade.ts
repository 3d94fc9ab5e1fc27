import { z } from 'zod';
import { openApi } from '../api.ts';
import type { Command } from '../command.ts';
import { facts, table } from '../text.ts';
import { wholeNumber } from './products.ts';

const Rollout = z.looseObject({
  image: z.string(),
  state: z.string(),
  percent: z.int(),
  previous: z.string().nullable(),
  started_at: z.string(),
  halted: z.looseObject({ reason: z.string(), engine_id: z.string().nullable() }).nullable(),
  engines: z.looseObject({ concerned: z.int(), upgraded: z.int(), under_way: z.int(), tried: z.int() }),
  next: z.string(),
});
type Rollout = z.infer<typeof Rollout>;

export const upgrade: Command = {
  words: ['upgrade'],
  args: [],
  options: {
    percent: {
      value: 'N',
      meaning: 'So many percent of the engines may have the image; those that run are upgraded when idle.',
    },
    image: { value: 'IMAGE', meaning: 'Roll this image out; the current one where absent.' },
    resume: { meaning: 'Go on with a roll-out that is halted.' },
    status: { meaning: 'Change nothing: show how it stands, and those before.' },
  },
  summary: 'Roll an engine image out, by shares; show how that stands.',
  detail:
    'A change of ORCH_ENGINE_IMAGE begins a roll-out at ORCH_UPGRADE_CANARY_PERCENT. An engine that does not get healthy has its old image and data back, and halts it.',
  example: 'bap-engine upgrade --percent=25',
  async run(given, io) {
    const api = await openApi(io);
    const percent = given.text('percent');
    const image = given.text('image');
    const body = {
      ...(image !== undefined && { image }),
      ...(percent !== undefined && { percent: wholeNumber('percent', percent) }),
      ...(given.on('resume') && { resume: true }),
    };
    if (given.on('status') || Object.keys(body).length === 0) {
      const answer = await api.call('GET', '/rollouts', z.looseObject({ rollouts: z.array(Rollout) }));
      const [current, ...before] = answer.rollouts;
      return {
        json: answer,
        people: (width) =>
          [
            current === undefined ? 'No image was ever rolled out.' : shownRollout(current),
            ...(before.length === 0
              ? []
              : [
                  '',
                  table(
                    ['BEFORE', 'STATE', 'SINCE'],
                    before.map((one) => [one.image, one.state, one.started_at]),
                    width,
                  ),
                ]),
          ].join('\n'),
        failed: current?.halted != null,
        next: current?.halted == null ? [] : ['bap-engine audit --action=rollout_halted'],
      };
    }
    const answer = await api.call('PUT', '/rollouts/current', Rollout, { body });
    return { json: answer, people: () => shownRollout(answer), next: ['bap-engine upgrade --status'] };
  },
};

const shownRollout = ({ image, state, percent, previous, halted, engines, next }: Rollout) =>
  facts({
    image,
    state,
    share: `${percent} % of ${engines.concerned} engines`,
    upgraded: engines.upgraded,
    'under way': engines.under_way,
    'brought back': engines.tried,
    'good before': previous,
    'halted by': halted === null ? null : `${halted.reason} (engine ${halted.engine_id})`,
    next,
  });
