/**
 * The products of a run and what they ask for: everything the HTTP API lets them do with their users' engines,
 * at random, many at once, again after a lost answer, with and without an `Idempotency-Key`.
 *
 * What they were told they tell the oracle.
 */
import { hashKey } from '../../src/keys/formats.ts';
import { type Engines, FIRST_IMAGE, imageOf } from './engines.ts';
import type { Faults } from './faults.ts';
import type { Random } from './random.ts';
import type { Answer, Replica } from './replica.ts';
import type { Scheduler } from './scheduler.ts';
import type { Trace } from './trace.ts';
import type { Witness } from './witness.ts';

export const ADMIN_KEY = 'the admin key';
/** A client waits this long for an answer, milliseconds: longer than any operation may take. */
const PATIENCE_MS = 200_000;
/** How often a client tries. */
const TRIES = 6;
/** An engine that was gone for this long must not be given out, milliseconds: a probe and a comparison each had their time. */
const KNOWN_AFTER_MS = 60_000;
const DEPTHS = ['label', 'doze', 'hibernate'] as const;
const MODES = ['label', 'doze', 'hibernate', 'doze+hibernate'] as const;

export type Product = { id: string; slug: string; key: string; caps: number[] };
export type User = { product: Product; id: string };
/** What a client was told of a wish that carried a key. `tries`: how often it asked. */
export type Told = { product_id: string; key: string; what: string; tries: number; answer: Answer };

/** How often each is asked for. */
const MIX = {
  admit: 24,
  'admit, no flags': 4,
  'admit, many at once': 1,
  turn: 12,
  provision: 4,
  start: 5,
  stop: 3,
  sleep: 5,
  wake: 5,
  destroy: 2,
  'stop, then start': 5,
  'sleep, then wake': 7,
  'destroy, then provision': 5,
  look: 3,
  policy: 1,
  'roll out': 2,
} as const;
type Kind = keyof typeof MIX;
type Change = 'provision' | 'start' | 'stop' | 'sleep' | 'wake' | 'destroy';

export type ClientsDeps = {
  scheduler: Scheduler;
  random: Random;
  faults: Faults;
  trace: Trace;
  witness: Witness;
  engines: Engines;
  replicas: () => Replica[];
};

export type Clients = ReturnType<typeof createClients>;

export function createClients(deps: ClientsDeps) {
  const { scheduler, random, faults, trace, witness, engines } = deps;
  const users: User[] = [];
  const told: Told[] = [];
  const counts = new Map<Kind, number>();
  /** The number of the last image. */
  let images = FIRST_IMAGE;
  let calls = 0;
  let underWay = 0;

  /** Asks some replica; null where no answer came. */
  async function ask(
    product: Product | null,
    method: string,
    path: string,
    options: { body?: unknown; key?: string | null } = {},
  ): Promise<Answer | null> {
    const there = deps.replicas();
    if (there.length === 0) {
      await scheduler.sleep(500);
      return null;
    }
    const headers = {
      ...(product === null ? { 'X-Admin-Key': ADMIN_KEY } : { 'X-Platform-Key': product.key }),
      ...(options.key && { 'Idempotency-Key': options.key }),
    };
    const replica = random.pick(there);
    calls += 1;
    const name = `call ${calls}`;
    trace.note(null, `${name} to replica ${replica.id}: ${method} ${path} ${JSON.stringify(options)}`);
    const patience_ms = faults.roll('client: gives up') ? random.between(10, 3_000) : PATIENCE_MS;
    const enough = new AbortController();
    const answer = await Promise.race([
      replica.request({ method, path, headers, body: options.body }),
      scheduler.sleep(patience_ms, enough.signal).then(() => null),
    ]);
    enough.abort();
    const code = codeOf(answer);
    trace.note(null, `${name}: ${answer === null ? 'no answer' : `${answer.status} ${code ?? ''}`}`);
    if (code === 'INTERNAL_ERROR') witness.violation('faults of ours', null, `${method} ${path} gives a 500`);
    return answer;
  }

  /** Asks again where no answer came, or the answer was to come again later. */
  async function insist(again: boolean, once: () => Promise<Answer | null>) {
    for (let tries = 1; ; tries += 1) {
      const answer = await once();
      const over = answer !== null && codeOf(answer) !== 'NOT_READY';
      if (over || !again || tries === TRIES) return { answer, tries };
      await scheduler.sleep(random.between(200, 2_000));
    }
  }

  async function admit(user: User, flags: { auto_provision: boolean; auto_wake: boolean }) {
    const path = `/engines/${user.id}/admit`;
    let asked_at = scheduler.now();
    const { answer } = await insist(true, async () => {
      asked_at = scheduler.now();
      return await ask(user.product, 'POST', path, { body: flags });
    });
    if (answer?.status !== 200 || answer.body.admitted !== true) return null;
    const engine = answer.body.engine as { engine_id: string; status: string; url: string; api_key: string };
    const { engine_id } = engine;
    const gone_at = witness.deadSince(engine_id);
    if (engine.status !== 'running') {
      witness.violation('admission', engine_id, `admitted to an engine that is ${engine.status}`);
    } else if (gone_at !== null && asked_at - gone_at > KNOWN_AFTER_MS) {
      witness.violation('admission', engine_id, `admitted to an engine gone for ${asked_at - gone_at} ms`);
    }
    const [there] = engines.placeOf(engine_id).processes;
    const booting = there?.state === 'booting' && there.since <= asked_at;
    if (booting && witness.lifeAt(engine_id, scheduler.now()) !== null) {
      witness.violation(
        'admission',
        engine_id,
        'admitted to an engine that boots since before it was asked for',
      );
    }
    witness.admitted(engine_id, asked_at);
    return engine;
  }

  async function turn(user: User): Promise<void> {
    const engine = await admit(user, { auto_provision: true, auto_wake: true });
    if (engine === null) return;
    await scheduler.sleep(random.between(1, 300));
    const there = engines.at(Number(new URL(engine.url).port));
    if (there === null || there === 'stranger' || there.engine_id !== engine.engine_id) return;
    if (there.key_hash !== hashKey(engine.api_key)) {
      witness.violation('admission', engine.engine_id, 'the key that was told does not open the engine');
    }
    // From a moment to minutes, most of them short; nobody waits for its end here.
    void engines.turn(there, 100 * 2 ** random.between(0, 10));
  }

  /** Changes an engine, with its key or without, waiting for its end or asking for it. */
  async function change(user: User, what: Change) {
    const { product } = user;
    const key = random.chance(0.7) ? `key-${calls}-${Math.floor(random.next() * 1e9)}` : null;
    const wait = random.chance(0.75);
    const body =
      what === 'provision' ? { user_id: user.id } : what === 'sleep' ? depthOrNot(random) : undefined;
    const [method, path] =
      what === 'provision'
        ? ['POST', '/engines/provision']
        : what === 'destroy'
          ? ['DELETE', `/engines/${user.id}`]
          : ['POST', `/engines/${user.id}/${what}`];
    const isWish = what === 'stop' || what === 'sleep' || what === 'destroy';
    const answered = isWish ? witness.wish(nameOf(user), what) : () => {};
    // Without a key nobody can know what a lost answer said; who asks again then may do it twice.
    const { answer, tries } = await insist(key !== null, () =>
      ask(product, method, `${path}${wait ? '' : '?wait=false'}`, { key, body }),
    );
    const final = answer?.status === 202 ? await follow(product, answer) : answer;
    // What nobody answered may still be done: by a replica that stood still, when it goes on.
    if (final !== null) answered();
    if (key !== null && answer !== null) told.push({ product_id: product.id, key, what, tries, answer });
    return final;
  }

  /** One after the other; a pair counts as two calls. */
  async function both(user: User, first: Change, second: Change): Promise<void> {
    count(first);
    await change(user, first);
    await scheduler.sleep(random.between(0, 4_000));
    await change(user, second);
  }

  /** Looks at an operation until it has ended. */
  async function follow(product: Product, begun: Answer): Promise<Answer | null> {
    for (const end = scheduler.now() + PATIENCE_MS; scheduler.now() < end; ) {
      await scheduler.sleep(random.between(200, 3_000));
      const answer = await ask(product, 'GET', `/operations/${begun.body.id}`);
      if (answer?.status === 404) {
        witness.violation('one outcome', null, `operation ${begun.body.id} is not known any more`);
      }
      const { status } = answer?.body ?? {};
      if (answer?.status === 200 && (status === 'succeeded' || status === 'failed')) return answer;
    }
    return null;
  }

  async function policy(user: User): Promise<void> {
    const { product } = user;
    const max_engines = random.integer(3, 9);
    // From the moment it is asked for it may be in force.
    product.caps.push(max_engines);
    const body = { policy: { max_engines, sleep_mode: random.pick(MODES) } };
    const { answer } = await insist(true, () => ask(null, 'PUT', `/products/${product.id}/policy`, { body }));
    if (answer?.status === 200)
      product.caps = [...product.caps.filter((cap) => cap > max_engines), max_engines];
  }

  /** An operator rolls the next image out, for more engines, or again. */
  async function rollOut(): Promise<void> {
    const what = random.choose({ image: 2, percent: 5, resume: 3 });
    if (what === 'image') images += 1;
    const body = {
      ...(what === 'image' && { image: imageOf(images) }),
      ...(what === 'resume' && { resume: true }),
      ...(what !== 'resume' && { percent: random.pick([0, 20, 50, 100]) }),
    };
    await insist(true, () => ask(null, 'PUT', '/rollouts/current', { body }));
  }

  const ACTS: Record<Kind, (user: User) => Promise<unknown>> = {
    admit: (user) => admit(user, { auto_provision: true, auto_wake: true }),
    'admit, no flags': (user) => admit(user, { auto_provision: false, auto_wake: random.chance(0.5) }),
    'admit, many at once': (user) => {
      const many = Array.from({ length: random.integer(5, 15) }, () =>
        admit(user, { auto_provision: true, auto_wake: true }),
      );
      count('admit', many.length - 1);
      return Promise.all(many);
    },
    turn,
    provision: (user) => change(user, 'provision'),
    start: (user) => change(user, 'start'),
    stop: (user) => change(user, 'stop'),
    sleep: (user) => change(user, 'sleep'),
    wake: (user) => change(user, 'wake'),
    destroy: (user) => change(user, 'destroy'),
    'stop, then start': (user) => both(user, 'stop', 'start'),
    'sleep, then wake': (user) => both(user, 'sleep', 'wake'),
    'destroy, then provision': (user) => both(user, 'destroy', 'provision'),
    look: (user) => ask(user.product, 'GET', `/engines/${user.id}${random.chance(0.5) ? '/explain' : ''}`),
    policy,
    'roll out': rollOut,
  };

  function count(kind: Kind, more = 1): void {
    counts.set(kind, (counts.get(kind) ?? 0) + more);
  }

  return {
    users,
    told,
    counts,
    underWay: () => underWay,
    total: () => [...counts.values()].reduce((sum, one) => sum + one, 0),
    ask,
    change,

    /** Registers products with their users. */
    async arrive(): Promise<Product[]> {
      const products: Product[] = [];
      for (const slug of ['apple', 'birch', 'cedar'].slice(0, random.integer(2, 3))) {
        const max_engines = random.integer(3, 9);
        const policy = { max_engines, sleep_mode: random.pick(MODES) };
        const body = { slug, display_name: slug, policy };
        const { answer } = await insist(true, () =>
          ask(null, 'POST', '/products/register', { body, key: slug }),
        );
        const { product_id, platform_api_key } = answer?.body ?? {};
        const product = { id: String(product_id), slug, key: String(platform_api_key), caps: [max_engines] };
        products.push(product);
        for (let n = random.integer(3, 7); n > 0; n -= 1) users.push({ product, id: `u${n}` });
      }
      return products;
    },

    /** One client call, or a burst of them, by chance; does not wait for its answer. */
    act(): void {
      const kind = random.choose(MIX);
      count(kind);
      underWay += 1;
      ACTS[kind](random.pick(users))
        .catch((error) => witness.violation('faults of ours', null, `a client failed: ${error.stack}`))
        .finally(() => {
          underWay -= 1;
        });
    },
  };
}

export const nameOf = ({ product, id }: User) => `${product.slug}/${id}`;

const depthOrNot = (random: Random) => (random.chance(0.8) ? { depth: random.pick(DEPTHS) } : {});

/** The code of an error answer. */
export function codeOf(answer: Answer | null): string | null {
  const { error } = (answer?.body ?? {}) as { error?: { code?: string } | null };
  return (answer !== null && answer.status >= 400 && error?.code) || null;
}
