/** Marks a route as one that wants the key, in the OpenAPI document. `requireKey` is what enforces it. */
export const KEY = [{ engine_key: [] }];

/** What a request without the key can reach: nothing here holds data. */
export const OPEN_PATHS: ReadonlySet<string> = new Set(['/health', '/openapi.json', '/docs']);
