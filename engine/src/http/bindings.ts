import type { HttpBindings } from '@hono/node-server';

/** What every handler can count on: Node's own request and response, and the id of this request. */
export type Bindings = { Bindings: HttpBindings; Variables: { request_id: string } };
