import { z } from 'zod';
import { openApi } from '../api.ts';
import type { Command } from '../command.ts';
import { facts, shown, table } from '../text.ts';
import { productId } from './products.ts';

const Engine = z.looseObject({
  engine_id: z.string(),
  user_id: z.string().nullable(),
  status: z.string(),
  sleep_depth: z.string().optional(),
  url: z.string().nullable(),
  engine_version: z.string(),
  last_health_at: z.string().nullable(),
  product_id: z.string().nullish(),
});

export const engines: Command = {
  words: ['engines'],
  args: [],
  options: {
    product: { value: 'PRODUCT', meaning: 'Only of this product, by slug or id.' },
    status: {
      value: 'STATUS',
      meaning: 'Only in this state: provisioning, running, sleeping, stopped, failed or destroying.',
    },
    limit: { value: 'N', meaning: 'At most so many; 100 where absent.' },
    offset: { value: 'N', meaning: 'Begin behind so many.' },
  },
  summary: 'The engines of the fleet, oldest first.',
  example: 'bap-engine engines --product=demo --status=failed',
  async run(given, io) {
    const api = await openApi(io);
    const product = given.text('product');
    const query = {
      product_id: product === undefined ? undefined : await productId(api, product),
      status: given.text('status'),
      limit: given.text('limit'),
      offset: given.text('offset'),
    };
    const shape = z.looseObject({ engines: z.array(Engine), total: z.int() });
    const page = await api.call('GET', '/engines', shape, { query });
    const failed = page.engines.find(({ status }) => status === 'failed');
    return {
      json: page,
      people: (width) =>
        [
          table(
            ['USER', 'STATUS', 'URL', 'VERSION', 'LAST HEALTH', 'ENGINE', 'PRODUCT'],
            page.engines.map((engine) => [
              engine.user_id,
              engine.sleep_depth === undefined ? engine.status : `${engine.status} (${engine.sleep_depth})`,
              engine.url,
              engine.engine_version,
              engine.last_health_at,
              engine.engine_id,
              engine.product_id ?? query.product_id,
            ]),
            width,
          ),
          `${page.engines.length} of ${page.total}`,
        ].join('\n'),
      next: [
        failed === undefined
          ? 'bap-engine explain <product> <user>'
          : `bap-engine explain ${failed.product_id ?? product ?? '<product>'} '${shown(failed.user_id)}'`,
      ],
    };
  },
};

const Explanation = z.looseObject({
  engine_id: z.string(),
  status: z.string(),
  sleep_depth: z.string().optional(),
  rule: z.string(),
  source: z.string(),
  evidence: z.record(z.string(), z.unknown()),
  version: z.looseObject({ image: z.string(), upgrade: z.string() }),
  next: z.object({ what: z.string(), at: z.string() }).nullable(),
  advice: z.string(),
});

export const explain: Command = {
  words: ['explain'],
  args: ['product', 'user'],
  options: {},
  summary: 'Why is this engine in its state, what comes next, and what to do?',
  detail: '<product> is a slug or an id.',
  example: 'bap-engine explain demo demo-user-001',
  async run(given, io) {
    const api = await openApi(io);
    const [product, user] = [given.arg('product'), given.arg('user')];
    const path = `/engines/${encodeURIComponent(user)}/explain`;
    const query = { product_id: await productId(api, product) };
    const answer = await api.call('GET', path, Explanation, { query });
    const { engine_id, status, sleep_depth, rule, source, evidence, version, next, advice } = answer;
    return {
      json: answer,
      people: () =>
        facts({
          engine: engine_id,
          status: sleep_depth === undefined ? status : `${status} (${sleep_depth})`,
          because: `${rule} (${source})`,
          ...evidence,
          image: version.image,
          upgrade: version.upgrade,
          next: next === null ? 'nothing by itself' : `${next.what}, ${next.at}`,
          'to do': advice,
        }),
      next: [`bap-engine audit --product=${product} --user='${shown(user)}'`],
    };
  },
};
