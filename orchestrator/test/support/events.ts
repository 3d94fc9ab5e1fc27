/** Reads a stream of transitions as a client does, by the id of the last event. */
import { createParser } from 'eventsource-parser';
import { until } from './wait.ts';

export type SeenTransition = {
  id: string;
  engine_id: string;
  user_id: string | null;
  product_id: string | null;
  from: string | null;
  to: string | null;
  sleep_depth: string | null;
  at: string;
  operation_id?: string;
};

export async function listen(url: string, headers: Record<string, string>, query = '') {
  const gone = new AbortController();
  const response = await fetch(`${url}/events${query}`, { headers, signal: gone.signal });
  const seen: SeenTransition[] = [];
  const state = { last_id: null as string | null, resets: 0, ended: false };
  const parser = createParser({
    onEvent: ({ id, event, data }) => {
      if (event === 'reset') state.resets += 1;
      else seen.push({ ...JSON.parse(data), id });
    },
  });
  const reading = (async () => {
    const decoder = new TextDecoder();
    let rest = '';
    for await (const chunk of response.body ?? []) {
      rest += decoder.decode(chunk, { stream: true });
      const whole = rest.slice(0, rest.lastIndexOf('\n\n') + 2);
      rest = rest.slice(whole.length);
      parser.feed(whole);
      // As a browser does it: an id counts also where it comes without an event.
      state.last_id =
        whole
          .match(/^id: \d+$/gm)
          ?.at(-1)
          ?.slice(4) ?? state.last_id;
    }
  })()
    .catch(() => undefined)
    .finally(() => {
      state.ended = true;
    });
  return {
    status: response.status,
    headers: response.headers,
    seen,
    state,
    begun: () => until('the stream says where it stands', () => state.last_id !== null),
    ended: reading,
    async close() {
      gone.abort();
      await reading;
    },
  };
}
