import pg from 'pg';
import { expect, inject, it } from 'vitest';

it('x', async () => {
  const c = new pg.Client(inject('postgresUrl'));
  await c.connect();
  expect(
    (await c.query("select version(), current_setting('server_encoding') e, lower('ÄÖ') l")).rows[0],
  ).toMatchObject({ e: 'UTF8', l: 'äö' });
  await c.end();
});
