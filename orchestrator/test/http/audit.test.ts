import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { appendAudit } from '../../src/audit/append.ts';
import type { Db } from '../../src/registry/db.ts';
import { anEntry, appendRows } from '../support/audit.ts';
import { ADMIN, startTestOrchestrator, type TestOrchestrator } from '../support/orchestrator.ts';

type Row = { id: number; user_id: string | null; product_id: string | null; timestamp: string };

describe('GET /audit', () => {
  let o: TestOrchestrator;
  let db: Db;

  beforeAll(async () => {
    o = await startTestOrchestrator(undefined, { outliveTest: true });
    db = o.orchestrator.db;
    return () => o.end();
  });

  /** All rows of a query, page by page; `between` runs between two pages. */
  async function walk(
    ask: (query: string) => ReturnType<TestOrchestrator['call']>,
    query: string,
    between = async () => {},
  ): Promise<Row[]> {
    const rows: Row[] = [];
    for (let cursor = ''; ; ) {
      const { status, body } = await ask(`/audit?${query}${cursor}`);
      expect(status).toBe(200);
      rows.push(...body.rows);
      if (body.next_cursor === null || body.rows.length === 0) return rows;
      cursor = `&cursor=${body.next_cursor}`;
      await between();
    }
  }

  it('shows a product what was done to it, newest first', async () => {
    const { id, slug, call } = await o.product({ max_engines: 3 });
    await o.call('PUT', `/products/${id}/policy`, { admin: ADMIN, body: { policy: { max_engines: 4 } } });
    await call('POST', '/engines/ada/admit');
    const { status, body } = await call('GET', '/audit');
    expect(status).toBe(200);
    const common = { product_id: id, engine_id: null, duration_ms: null };
    const written = {
      id: expect.any(Number),
      timestamp: expect.stringMatching(/Z$/),
      seq: expect.any(Number),
    };
    const hash = expect.stringMatching(/^[0-9a-f]{64}$/);
    expect(body).toEqual({
      rows: [
        {
          ...common,
          ...written,
          hash,
          user_id: 'ada',
          action: 'admit_denied',
          actor: slug,
          metadata: { reason: 'engine_not_found' },
        },
        {
          ...common,
          ...written,
          hash,
          user_id: null,
          action: 'policy_update',
          actor: 'admin',
          metadata: { policy: { max_engines: 4 } },
        },
        {
          ...common,
          ...written,
          hash,
          user_id: null,
          action: 'policy_register',
          actor: 'admin',
          metadata: { slug, policy: { max_engines: 3 } },
        },
      ],
      next_cursor: null,
    });
    expect(body.rows.map(({ seq }: { seq: number }) => seq)).toEqual([3, 2, 1]);
    const [head] = await db.query(
      "SELECT encode(hash, 'hex') AS hash FROM audit_chains WHERE product_id = $1",
      [id],
    );
    expect(head).toEqual({ hash: body.rows[0].hash });
  });

  it("shows a product its own rows only, an operator everybody's and the system's, or one product's", async () => {
    const [a, b] = [await o.product(), await o.product()];
    await appendAudit(db, anEntry(null, { actor: 'system' }));
    const products = async (rows: Promise<Row[]>) =>
      new Set((await rows).map(({ product_id }) => product_id));
    expect(await products(walk((path) => a.call('GET', path), 'limit=1000'))).toEqual(new Set([a.id]));
    const foreign = await a.call('GET', `/audit?product_id=${b.id}`);
    expect([foreign.status, foreign.body.error.details.issues[0].path]).toEqual([400, 'query.product_id']);
    expect((await a.call('GET', `/audit?actor=${b.slug}`)).body.rows).toEqual([]);

    const admin = (path: string) => o.call('GET', path, { admin: ADMIN });
    const all = await products(walk(admin, 'limit=1000'));
    for (const product of [a.id, b.id, null]) expect(all).toContain(product);
    expect(await products(walk(admin, `product_id=${b.id}`))).toEqual(new Set([b.id]));
    expect((await admin(`/audit?product_id=${randomUUID()}`)).body.error.code).toBe('PRODUCT_NOT_FOUND');
  });

  it('filters by each of its conditions, and by all of them', async () => {
    const { id, call } = await o.product();
    const engine_id = randomUUID();
    const at = (hour: number) => new Date(Date.UTC(2024, 1, 29, hour));
    for (const [hour, entry] of [
      { user_id: 'ada' },
      { user_id: 'a/b c' },
      { user_id: 'ada', engine_id },
      { user_id: 'ada', action: 'stop' as const },
      { user_id: 'ada', engine_id, action: 'stop' as const, actor: 'system' },
    ].entries()) {
      await appendAudit(db, anEntry(id, { actor: 'somebody', timestamp: at(hour), ...entry }));
    }
    const hours = async (query: string) => {
      const rows = await walk((path) => call('GET', path), `to=2024-03-01T00:00:00Z&order=asc&${query}`);
      return rows.map(({ timestamp }) => new Date(timestamp).getUTCHours());
    };
    expect(await hours('')).toEqual([0, 1, 2, 3, 4]);
    expect(await hours('user_id=ada')).toEqual([0, 2, 3, 4]);
    expect(await hours('user_id=a%2Fb%20c')).toEqual([1]);
    expect(await hours(`engine_id=${engine_id}`)).toEqual([2, 4]);
    expect(await hours('action=stop')).toEqual([3, 4]);
    expect(await hours('actor=somebody')).toEqual([0, 1, 2, 3]);
    expect(await hours('from=2024-02-29T02:00:00Z')).toEqual([2, 3, 4]);
    expect(await hours('from=2024-02-29T02:00:00%2B01:00')).toEqual([1, 2, 3, 4]);
    const before = await call('GET', '/audit?to=2024-02-29T02:00:00Z');
    expect(before.body.rows).toHaveLength(2);
    const all = `user_id=ada&engine_id=${engine_id}&action=stop&actor=system&from=2024-02-29T04:00:00Z`;
    expect(await hours(all)).toEqual([4]);
    expect(await hours(`${all}&limit=1`)).toEqual([4]);
  });

  it.each(['asc', 'desc'])(
    'pages in order %s without a gap or a repetition, while rows are added',
    async (order) => {
      const [a, b] = [await o.product(), await o.product()];
      await appendRows(db, a.id, 20);
      const before = await walk((path) => a.call('GET', path), 'limit=1000');
      let rounds = 5;
      const add = async () => {
        rounds -= 1;
        if (rounds < 0) return;
        await appendRows(db, b.id, 2);
        await appendRows(db, a.id, 3);
      };
      const rows = await walk((path) => a.call('GET', path), `limit=4&order=${order}`, add);
      const ids = rows.map(({ id }) => id);
      expect(new Set(ids).size).toBe(ids.length);
      expect(ids).toEqual(ids.toSorted((x, y) => (order === 'asc' ? x - y : y - x)));
      const after = await walk((path) => a.call('GET', path), 'limit=1000');
      // Newest first, what was added meanwhile lies behind the reader; oldest first, before him.
      const expected = order === 'asc' ? after : before;
      expect(ids.toSorted((x, y) => y - x)).toEqual(expected.map(({ id }) => id));
    },
  );

  it('oldest first, the last cursor waits for what is written next', async () => {
    const { id, call } = await o.product();
    const { body: page } = await call('GET', '/audit?order=asc');
    expect(page.rows).toHaveLength(1);
    const next = () => call('GET', `/audit?order=asc&cursor=${page.next_cursor}`);
    expect((await next()).body).toEqual({ rows: [], next_cursor: page.next_cursor });
    await appendRows(db, id, 1);
    expect((await next()).body.rows).toMatchObject([{ user_id: 'user-1' }]);
    const nothing = await call('GET', '/audit?order=asc&user_id=nobody');
    expect(nothing.body).toEqual({ rows: [], next_cursor: null });
  });

  it('gives a hundred rows where no limit is named', async () => {
    const { id, call } = await o.product();
    await appendRows(db, id, 100);
    expect((await call('GET', '/audit')).body.rows).toHaveLength(100);
    expect((await call('GET', '/audit?limit=101')).body).toMatchObject({ next_cursor: null });
  });
});
