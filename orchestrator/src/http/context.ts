import type { HttpBindings } from '@hono/node-server';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { AdmissionDeps } from '../admission/admit.ts';
import type { MasterKeys } from '../keys/master.ts';
import type { Log } from '../observe/log.ts';
import type { ProductRow } from '../registry/products.ts';

/** What endpoints are built from. */
export type HttpDeps = AdmissionDeps & { log: Log; admin_key: string; master_keys: MasterKeys };

/** What a request carries: its id from the first moment, the calling product from the key check on. */
export type Env = { Bindings: HttpBindings; Variables: { request_id: string; product: ProductRow } };

export type App = OpenAPIHono<Env>;
