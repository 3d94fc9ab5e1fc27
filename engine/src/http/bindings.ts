import type { Http2Bindings, HttpBindings } from '@hono/node-server';

/** What every handler can count on: Node's own request and response, and the id of this request. */
export type Bindings = { Bindings: HttpBindings | Http2Bindings; Variables: { request_id: string } };
