/**
 * PostgreSQL killed between COMMIT and its reply: the one moment in which nobody on this side can know whether
 * it has happened. Here it always has.
 */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { findByArgument } from '../../src/backends/process.ts';
import type { OperationRow } from '../../src/registry/operations.ts';
import { mortalPostgres } from '../support/mortal_postgres.ts';
import { type Answer, type Call, startTestOrchestrator, testEnvironment } from '../support/orchestrator.ts';
import { until } from '../support/wait.ts';
import { wireTo } from '../support/wire.ts';

/** A PostgreSQL of its own, started twice, on a machine that is busy with other tests, milliseconds. */
const TIME_LIMIT_MS = 90_000;
const both = { auto_provision: true, auto_wake: true };
const once = { 'Idempotency-Key': randomUUID() };

type Case = {
  name: string;
  kind: OperationRow['kind'];
  /** Words of the transaction whose reply is lost. */
  words: string;
  /** Whether ada has an engine before. */
  before: boolean;
  request(call: Call): Promise<Answer>;
  /** What the caller gets: `503` at once, or the outcome once the server is back. */
  status: 200 | 503;
  /** What the same request gives when it is sent again. */
  again: 200 | 409;
  end: 'running' | 'stopped';
};

const CASES: Case[] = [
  {
    name: 'the begin of a stop',
    kind: 'stop',
    words: 'INSERT INTO operations',
    before: true,
    request: (call) => call('POST', '/engines/ada/stop'),
    status: 503,
    again: 409,
    end: 'stopped',
  },
  {
    name: 'the end of a stop',
    kind: 'stop',
    words: 'SET outcome',
    before: true,
    request: (call) => call('POST', '/engines/ada/stop'),
    status: 200,
    again: 409,
    end: 'stopped',
  },
  {
    name: 'the provision of an admit',
    kind: 'provision',
    words: 'INSERT INTO engines',
    before: false,
    request: (call) => call('POST', '/engines/ada/admit', { body: both }),
    status: 503,
    again: 200,
    end: 'running',
  },
  {
    name: 'a provision with an Idempotency-Key',
    kind: 'provision',
    words: 'INSERT INTO idempotency_keys',
    before: false,
    request: (call) => call('POST', '/engines/provision', { body: { user_id: 'ada' }, headers: once }),
    status: 503,
    again: 200,
    end: 'running',
  },
];

async function rowsOf<Row extends pg.QueryResultRow>(url: string, text: string, values: unknown[]) {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<Row>(text, values)).rows;
  } finally {
    await client.end();
  }
}

describe('PostgreSQL killed between COMMIT and its reply', () => {
  it.each(CASES)(
    'of $name: it has happened, once, and goes on',
    async (one) => {
      const postgres = await mortalPostgres();
      const wire = await wireTo(postgres.url);
      const o = await startTestOrchestrator(testEnvironment({ ORCH_DATABASE_URL: wire.url }));
      const { call } = await o.product();
      if (one.before) await call('POST', '/engines/ada/admit', { body: both });

      const lost = wire.loseCommit(one.words);
      const asked = one.request(call);
      await lost;
      await postgres.kill();
      if (one.status === 503) {
        const { status, body, headers } = await asked;
        expect([status, body.error?.code]).toEqual([503, 'NOT_READY']);
        expect(headers.get('retry-after')).toBe('2');
      }
      // Cut, so that nothing but the lost COMMIT can have written what is found.
      await wire.cut();
      await postgres.comeBack();
      const operations = () =>
        rowsOf<OperationRow>(postgres.url, 'SELECT * FROM operations WHERE kind = $1', [one.kind]);
      const [landed, ...others] = await operations();
      expect([landed?.outcome, others]).toEqual([one.words === 'SET outcome' ? 'succeeded' : null, []]);

      await wire.mend();
      await until('it serves', async () => (await o.call('GET', '/health')).status === 200);
      expect((await asked).status).toBe(one.status);
      if (one.again === 200) expect((await one.request(call)).status).toBe(200);
      await until('the operation has its outcome', async () => {
        return (await call('GET', `/operations/${landed?.id}`)).body.status === 'succeeded';
      });
      if (one.again === 409) expect((await one.request(call)).body.error.code).toBe('ENGINE_NOT_RUNNING');

      expect(await operations()).toHaveLength(1);
      const { engine_id, status } = (await call('GET', '/engines/ada')).body;
      expect([engine_id, status]).toEqual([landed?.engine_id, one.end]);
      expect(await findByArgument(`--engine=${engine_id}/`)).toHaveLength(one.end === 'running' ? 1 : 0);
      const audit = await rowsOf(postgres.url, 'SELECT id FROM audit_log WHERE action = $1', [one.kind]);
      expect(audit, 'its end is audited, once').toHaveLength(1);
    },
    TIME_LIMIT_MS,
  );
});
