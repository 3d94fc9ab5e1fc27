import { z } from 'zod';
import { type Api, openApi } from '../api.ts';
import type { Command, Given } from '../command.ts';
import { CommandFailure } from '../failure.ts';
import { facts, table } from '../text.ts';

const Policy = z.record(z.string(), z.unknown());
const Product = z.looseObject({
  product_id: z.string(),
  slug: z.string(),
  display_name: z.string(),
  engines: z.int(),
  policy: Policy,
});
const Products = z.looseObject({ products: z.array(Product), total: z.int() });

/** Products asked for at once when one is looked for by its slug: the largest page. */
const PAGE = 1000;

const paging = {
  limit: { value: 'N', meaning: 'At most so many.' },
  offset: { value: 'N', meaning: 'Begin behind so many.' },
};

export const listProducts: Command = {
  words: ['products', 'list'],
  also: 'products',
  args: [],
  options: paging,
  summary: 'The products: tenants of this orchestrator.',
  example: 'bap-engine products',
  async run(given, io) {
    const api = await openApi(io);
    const query = { limit: given.text('limit'), offset: given.text('offset') };
    const page = await api.call('GET', '/products', Products, { query });
    return {
      json: page,
      people: (width) =>
        page.products.length === 0
          ? 'No products.'
          : table(
              ['SLUG', 'PRODUCT', 'NAME', 'ENGINES', 'POLICY'],
              page.products.map(({ slug, product_id, display_name, engines, policy }) => [
                slug,
                product_id,
                display_name,
                engines,
                policy,
              ]),
              width,
            ),
      next:
        page.products.length === 0
          ? ['bap-engine products register <slug> --name=<name>']
          : ['bap-engine engines --product=<slug>'],
    };
  },
};

export const registerProduct: Command = {
  words: ['products', 'register'],
  args: ['slug'],
  options: {
    name: { value: 'TEXT', meaning: 'Its name for people; the slug where absent.' },
    policy: { value: 'JSON', meaning: 'Its limits (docs/reference/policy.md); none where absent.' },
  },
  summary: 'Register a product; its platform key is shown once.',
  example: `bap-engine products register demo --name='Demo product' --policy='{"max_engines":10}'`,
  async run(given, io) {
    const api = await openApi(io);
    const slug = given.arg('slug');
    const body = {
      slug,
      display_name: given.text('name') ?? slug,
      policy: policyOf(given.text('policy') ?? '{}'),
    };
    const shape = z.looseObject({ product_id: z.string(), slug: z.string(), platform_api_key: z.string() });
    const answer = await api.call('POST', '/products/register', shape, { body });
    return {
      json: answer,
      people: () =>
        `${facts(answer)}\n\nThe key is shown this once: store it where the product reads its secrets.`,
    };
  },
};

export const productPolicy: Command = {
  words: ['products', 'policy'],
  args: ['product'],
  options: {
    set: { value: 'JSON', meaning: 'Replace the policy by this one; nothing of the old one stays.' },
  },
  summary: "Show a product's policy, or replace it.",
  detail: '<product> is a slug or an id. A replaced policy holds from the next request on.',
  example: `bap-engine products policy demo --set='{"max_engines":1000,"rate_limit_rpm":600}'`,
  async run(given, io) {
    const api = await openApi(io);
    const set = given.text('set');
    if (set === undefined) {
      const { slug, policy } = await findProduct(api, given.arg('product'));
      return {
        json: { policy },
        people: () => (Object.keys(policy).length === 0 ? `${slug} has no limits.` : facts(policy)),
        next: [`bap-engine products policy ${slug} --set='${JSON.stringify(policy)}'`],
      };
    }
    const wanted = policyOf(set);
    const id = await productId(api, given.arg('product'));
    const shape = z.looseObject({ policy: Policy });
    const answer = await api.call('PUT', `/products/${id}/policy`, shape, { body: { policy: wanted } });
    return { json: answer, people: () => `In force:\n${facts(answer.policy) || 'no limits'}` };
  },
};

export const rotatePlatformKey: Command = {
  words: ['products', 'rotate-key'],
  args: ['product'],
  options: {
    overlap: { value: 'SECONDS', meaning: 'How long the old key stays good; not at all where absent.' },
  },
  summary: "Replace a product's platform key; the new one is shown once.",
  detail: '<product> is a slug or an id.',
  example: 'bap-engine products rotate-key demo --overlap=3600',
  async run(given, io) {
    const api = await openApi(io);
    const id = await productId(api, given.arg('product'));
    const overlap = given.text('overlap');
    const body = overlap === undefined ? {} : { overlap_s: wholeNumber('overlap', overlap) };
    const shape = z.looseObject({ product_id: z.string(), platform_api_key: z.string() });
    const answer = await api.call('POST', `/products/${id}/rotate-platform-key`, shape, { body });
    return { json: answer, people: () => `${facts(answer)}\n\nThe key is shown this once.` };
  },
};

export const deleteProduct: Command = {
  words: ['products', 'delete'],
  args: ['product'],
  options: { yes: { meaning: 'Do it; there is no way back.' } },
  summary: 'Delete a product that has no engines.',
  detail: '<product> is a slug or an id.',
  example: 'bap-engine products delete demo --yes',
  async run(given, io) {
    const name = given.arg('product');
    requireYes(given, `Deleting ${name} cannot be undone.`);
    const api = await openApi(io);
    const answer = await api.call('DELETE', `/products/${await productId(api, name)}`, z.looseObject({}));
    return { json: answer, people: () => `${name} is deleted.` };
  },
};

/** Throws `USAGE` where `--yes` is missing; `why` says what it stands for. */
export function requireYes(given: Given, why: string): void {
  if (!given.on('yes')) throw new CommandFailure('USAGE', why, { advice: 'Add --yes to do it.' });
}

/** The id of a product that was named by its slug or id; ids are not looked up. */
export async function productId(api: Api, name: string): Promise<string> {
  return z.uuid().safeParse(name).success ? name : (await findProduct(api, name)).product_id;
}

async function findProduct(api: Api, name: string): Promise<z.infer<typeof Product>> {
  for (let offset = 0; ; offset += PAGE) {
    const query = { limit: String(PAGE), offset: String(offset) };
    const { products, total } = await api.call('GET', '/products', Products, { query });
    const found = products.find(({ slug, product_id }) => slug === name || product_id === name);
    if (found !== undefined) return found;
    if (offset + PAGE >= total || products.length === 0) {
      throw new CommandFailure('PRODUCT_NOT_FOUND', `No product has the slug or id \`${name}\`.`, {
        advice: '`bap-engine products` lists them.',
      });
    }
  }
}

function policyOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CommandFailure('USAGE', 'The policy is not valid JSON.', {
      advice: `Quote it for your shell: '{"max_engines":10}'.`,
      cause,
    });
  }
}

export function wholeNumber(option: string, text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new CommandFailure('USAGE', `\`--${option}\` must be a whole number.`);
}
