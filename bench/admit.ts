/**
 * `npm run bench -- admit`: what an admit of a running engine costs above its floors (bap-engine §2.3, O17).
 *
 * Four systems on one PostgreSQL: the prepared primary-key SELECT (a), the same behind a bare HTTP server (b), and
 * the orchestrator's admit for a product without and with a rate limit. A machine is never quite the same from one
 * second to the next, so all are measured in turns, round after round, and only figures of one round are compared;
 * the table shows the median over the rounds and the spread.
 */
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hashKey, newEngineKey, newPlatformKey } from '../orchestrator/src/keys/formats.ts';
import { parseMasterKeys } from '../orchestrator/src/keys/master.ts';
import { openDb } from '../orchestrator/src/registry/db.ts';
import { startEmbeddedPostgres } from '../orchestrator/src/registry/embedded_postgres.ts';
import { insertProduct } from '../orchestrator/src/registry/products.ts';
import { addEngines, engineId, userId } from './admit/fleet.ts';
import { type AdmitResults, type Round, writeAdmitReport } from './admit/report.ts';
import { startChild } from './support/child.ts';
import type { Load, Measured } from './support/measure.ts';

/** How many engines are registered, and how many of them, picked at random, are asked for. */
const FLEETS = [1_000, 1_000_000];
const ASKED_FOR = 100_000;
const CONCURRENCY = [1, 16, 64];
const ROUNDS = 5;
const WARM_UP_MS = 500;
/** Once before all else: Node.js compiles what has run often enough, and a server is not measured while it does. */
const FIRST_WARM_UP: Load = { concurrency: 16, warm_up_ms: 0, measured_ms: 4_000 };
const MEASURED_MS = 1_500;
/** Never reached, but counted: what the limit itself takes is part of the admit. */
const LIMIT_RPM = 1_000_000;

export async function benchAdmit(options: { quick: boolean }): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-admit-'));
  const postgres = await startEmbeddedPostgres({ folder: join(folder, 'postgres') });
  const output = openSync(join(folder, 'orchestrator.log'), 'w');
  const master = Buffer.alloc(32, 7).toString('base64url');
  const orchestrator = startChild(new URL('./admit/orchestrator.ts', import.meta.url), {
    output,
    env: {
      NODE_ENV: 'production',
      ORCH_DATABASE_URL: postgres.url,
      ORCH_MASTER_KEY: master,
      ORCH_ADMIN_KEY: 'the admin key of a benchmark, used by nobody',
      ORCH_DATA_DIR: folder,
      ORCH_ENGINE_BACKEND: 'subprocess',
    },
  });
  const environment = { env: { BENCH_DATABASE_URL: postgres.url } };
  const select = startChild(new URL('./admit/floor.ts', import.meta.url), environment);
  const bare = startChild(new URL('./admit/floor.ts', import.meta.url), environment);
  const load = startChild(new URL('./admit/load.ts', import.meta.url));
  const children = [orchestrator, select, bare, load];
  const db = openDb(postgres.url, (error) => console.error(error.message));
  try {
    const orchestrator_url = await orchestrator.ask<string>('listen');
    const bare_url = await bare.ask<string>('listen');
    const engine_key_enc = parseMasterKeys(master)?.seal(newEngineKey()) ?? '';
    const key = newPlatformKey();
    const product = await insertProduct(db, {
      slug: 'bench',
      display_name: 'Bench',
      api_key_hash: hashKey(key),
      policy: {},
    });

    const results: AdmitResults = [];
    let registered = 0;
    for (const fleet of options.quick ? FLEETS.slice(0, 1) : FLEETS) {
      console.log(`${fleet} engines`);
      await addEngines(db, { product_id: product.id, engine_key_enc, from: registered, to: fleet });
      registered = fleet;
      const asked = Array.from({ length: Math.min(fleet, ASKED_FOR) }, () =>
        Math.floor(Math.random() * fleet),
      );
      const [ids, users] = [asked.map(engineId), asked.map(userId)];
      const admit = (rate_limit_rpm: number | null) => async (one: Load) => {
        await db.query('UPDATE products SET policy = $2 WHERE id = $1', [
          product.id,
          rate_limit_rpm === null ? {} : { rate_limit_rpm },
        ]);
        const body = '{"auto_provision":true,"auto_wake":true}';
        return await load.ask<Measured>({
          load: one,
          names: users,
          target: {
            url: orchestrator_url,
            before: 'POST /engines/',
            after: `/admit HTTP/1.1\r\nHost: bench\r\nX-Platform-Key: ${key}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
            expected: '{"admitted":true,',
          },
        });
      };
      const systems: Record<keyof Round, (one: Load) => Promise<Measured>> = {
        select: (one) => select.ask({ load: one, ids }),
        bare: (one) =>
          load.ask({
            load: one,
            names: ids,
            target: {
              url: bare_url,
              before: 'GET /',
              after: ' HTTP/1.1\r\nHost: bench\r\n\r\n',
              expected: '{"id"',
            },
          }),
        admit: admit(null),
        limited: admit(LIMIT_RPM),
      };
      if (results.length === 0) for (const system of Object.values(systems)) await system(FIRST_WARM_UP);
      for (const concurrency of CONCURRENCY) {
        const rounds: Round[] = [];
        for (let round = 0; round < (options.quick ? 1 : ROUNDS); round += 1) {
          const one: Load = { concurrency, warm_up_ms: WARM_UP_MS, measured_ms: MEASURED_MS };
          const measured: Round = {
            select: await systems.select(one),
            bare: await systems.bare(one),
            admit: await systems.admit(one),
            limited: await systems.limited(one),
          };
          rounds.push(measured);
          const shown = Object.entries(measured).map(
            ([system, { p50, p99, rps, client_share }]) =>
              `${system} ${p50.toFixed(2)}/${p99.toFixed(1)} ms ${Math.round(rps)}/s (client ${client_share.toFixed(2)})`,
          );
          console.log(`  ${concurrency}: ${shown.join(' · ')}`);
        }
        results.push({ fleet, concurrency, rounds });
      }
    }
    if (!options.quick) await writeAdmitReport(results);
  } finally {
    await Promise.all(children.map((child) => child.end()));
    await db.end();
    await postgres.stop();
    closeSync(output);
    await rm(folder, { recursive: true, force: true });
  }
}
