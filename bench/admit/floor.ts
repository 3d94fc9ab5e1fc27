/**
 * The floors: what the driver, the pool and PostgreSQL take by themselves (a), and what they take behind the
 * smallest HTTP server there is (b). Both read what an admit answers with, by primary key, with one prepared
 * statement.
 */
import { once } from 'node:events';
import { createServer } from 'node:http';
import { openDb } from '../../orchestrator/src/registry/db.ts';
import { answerParent } from '../support/child.ts';
import { type Load, measure } from '../support/measure.ts';

const { BENCH_DATABASE_URL: url = '' } = process.env;
const db = openDb(url, (error) => console.error(error));

const readEngine = (id: string) =>
  db.query<Record<string, unknown>>(
    `SELECT id, user_id, status, url, engine_key_enc, engine_version, created_at, last_health_at
       FROM engines WHERE id = $1`,
    [id],
  );

export type FloorQuestion = 'listen' | { load: Load; ids: string[] };

answerParent(async (question: FloorQuestion) => {
  if (question === 'listen') {
    const server = createServer(async (request, response) => {
      const [engine] = await readEngine((request.url ?? '').slice(1));
      const body = JSON.stringify(engine);
      response
        .writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) })
        .end(body);
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const address = server.address();
    return `http://127.0.0.1:${address !== null && typeof address === 'object' ? address.port : ''}`;
  }
  const { load, ids } = question;
  return await measure(load, async () => {
    const rows = await readEngine(ids[Math.floor(Math.random() * ids.length)] ?? '');
    if (rows.length !== 1) throw new Error('an engine is missing');
  });
});
