import type { HttpBindings } from '@hono/node-server';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { AdmissionDeps } from '../admission/admit.ts';
import type { CanarySettings, HealthSettings, RestartPolicy } from '../config.ts';
import type { Feed } from '../fleet/feed.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Log } from '../observe/log.ts';
import type { ProcessWatch } from '../observe/process.ts';
import type { SleepMode } from '../registry/policy.ts';
import type { ProductRow } from '../registry/products.ts';

/** What endpoints are built from. */
export type HttpDeps = AdmissionDeps &
  CanarySettings & {
    log: Log;
    admin_key: string;
    master_keys: MasterKeys;
    /** Where a product has none of its own. */
    sleep_mode: SleepMode;
    health: HealthSettings;
    restarts: RestartPolicy;
    feed: Feed;
    process_watch: ProcessWatch;
  };

/**
/**
 * What a request carries: its id from the first moment; from the key check on whether an operator calls, else the
 * calling product; and `slice`: whose rows may be seen, a product's id, or null for everybody's. An admit carries
 * the hash of its key instead, which it checks itself.
 */
export type Env = {
  Bindings: HttpBindings;
  Variables: {
    request_id: string;
    operator: boolean;
    product: ProductRow;
    slice: ProductRow['id'] | null;
    key_hash: string;
  };
};

export type App = OpenAPIHono<Env>;
