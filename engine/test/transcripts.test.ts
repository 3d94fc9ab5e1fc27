import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ModelServer, type Reply, startModelServer } from '@september/model-server';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WIRES } from './herald/support.ts';
import { type Engine, startEngine, temporaryFolder } from './support/engine.ts';
import { all, execute, type Received } from './support/stream.ts';

/**
 * One transcript, told in every provider's wire format, is one stream of events: a client never knows whom it
 * talks to. What may differ is what a provider says of itself: its name for the model, its price, its words.
 */
type Transcript = {
  name: string;
  replies: Reply[];
  /** What the client sees, deltas of a kind in a row as one. */
  seen: string[];
  /** Wires that show no reasoning are told the rest of it. */
  thinks?: boolean;
};

const usage = { input_tokens: 1200, output_tokens: 34, cache_hit_tokens: 1000 };
const read = (id: string, path: string) => ({ tool: 'read_file', id, input: { path }, fragments: 4 });
const block = (kind: string, ...inside: string[]) => [`start ${kind}`, ...inside, `stop ${kind}`];

const TRANSCRIPTS: Transcript[] = [
  {
    name: 'text',
    replies: [{ steps: [{ text: 'Grüße aus Kyjiw, 世界 👋!', chunks: 7 }], usage }],
    seen: [
      'started',
      ...block('text', 'text Grüße aus Kyjiw, 世界 👋!'),
      'usage 1200 34 1000',
      'completed end_turn',
    ],
  },
  {
    name: 'thinking, then text',
    thinks: true,
    replies: [{ steps: [{ thinking: 'Two and two.', chunks: 3 }, { text: 'Four.' }], usage }],
    seen: [
      'started',
      ...block('thinking', 'thinking Two and two.'),
      ...block('text', 'text Four.'),
      'usage 1200 34 1000',
      'completed end_turn',
    ],
  },
  {
    name: 'words, then tools side by side, one of which fails, one with input that is none',
    replies: [
      {
        steps: [
          { text: 'I look.' },
          read('c1', 'a.txt'),
          read('c2', 'gone.txt'),
          { tool: 'read_file', id: 'c3', input: {} },
        ],
        usage,
      },
      { steps: [{ text: 'It says figs.' }], usage },
    ],
    seen: [
      'started',
      ...block('text', 'text I look.'),
      ...block('tool_use'),
      ...block('tool_use'),
      ...block('tool_use'),
      'usage 1200 34 1000',
      'call c1 {"path":"a.txt"}',
      'call c2 {"path":"gone.txt"}',
      'call c3 {}',
      'result c1 ok',
      'result c2 not_found',
      'result c3 invalid_input',
      ...block('text', 'text It says figs.'),
      'usage 1200 34 1000',
      'completed end_turn',
    ],
  },
  {
    name: 'a thought that goes on over a tool',
    thinks: true,
    replies: [
      { steps: [{ thinking: 'A file.' }, read('t1', 'a.txt')], usage },
      { steps: [{ thinking: 'Figs, then.' }, { text: 'Figs.' }], usage },
    ],
    seen: [
      'started',
      ...block('thinking', 'thinking A file.'),
      ...block('tool_use'),
      'usage 1200 34 1000',
      'call t1 {"path":"a.txt"}',
      'result t1 ok',
      ...block('thinking', 'thinking Figs, then.'),
      ...block('text', 'text Figs.'),
      'usage 1200 34 1000',
      'completed end_turn',
    ],
  },
  {
    name: 'an answer that is cut at its limit',
    replies: [{ steps: [{ text: 'And so on and' }], stop_reason: 'max_tokens', usage }],
    seen: ['started', ...block('text', 'text And so on and'), 'usage 1200 34 1000', 'completed max_tokens'],
  },
  {
    name: 'a limit before the first word',
    replies: [
      { status: 429, retry_after_s: 0 },
      { steps: [{ text: 'Here.' }], usage },
    ],
    seen: ['started', ...block('text', 'text Here.'), 'usage 1200 34 1000', 'completed end_turn'],
  },
  {
    name: 'a connection that dies in the middle of a word',
    replies: [
      { steps: [{ text: 'Half of it', chunks: 2 }, { cut: true }] },
      { steps: [{ text: 'All of it.' }], usage },
    ],
    seen: [
      'started',
      'start text',
      'text Half of it',
      'stop text discarded',
      ...block('text', 'text All of it.'),
      'usage 1200 34 1000',
      'completed end_turn',
    ],
  },
  {
    name: 'an overload told after the first words',
    replies: [{ steps: [{ text: 'Half' }, { overloaded: true }] }, { steps: [{ text: 'All.' }], usage }],
    seen: [
      'started',
      'start text',
      'text Half',
      'stop text discarded',
      ...block('text', 'text All.'),
      'usage 1200 34 1000',
      'completed end_turn',
    ],
  },
  {
    name: 'a refusal for good',
    replies: [{ status: 401 }],
    seen: ['started', 'errored LLM_PROVIDER_ERROR', 'error LLM_PROVIDER_ERROR'],
  },
  {
    name: 'a conversation that does not fit',
    replies: [{ context_overflow: true }],
    seen: ['started', 'errored CONTEXT_OVERFLOW', 'error CONTEXT_OVERFLOW'],
  },
];

/** An event in one line, without what is the provider's or the clock's. */
function line({ data }: Received): string {
  switch (data.type) {
    case 'thread_lifecycle': {
      const failure = data.error as { error?: string } | undefined;
      return [data.phase, data.stop_reason ?? failure?.error].filter(Boolean).join(' ');
    }
    case 'content_block_start':
      return `start ${data.block_type}`;
    case 'content_block_stop':
      return `stop ${data.block_type}${data.discarded ? ' discarded' : ''}`;
    case 'text_delta':
      return `text ${data.text}`;
    case 'thinking_delta':
      return `thinking ${data.text}`;
    case 'tool_call':
      return `call ${data.tool_call_id} ${JSON.stringify(data.input)}`;
    case 'tool_result':
      return `result ${data.tool_call_id} ${data.error ?? 'ok'}`;
    case 'usage':
      return `usage ${data.input_tokens} ${data.output_tokens} ${data.cache_hit_tokens}`;
    case 'error':
      return `error ${data.error}`;
    default:
      return String(data.type);
  }
}

/** How finely an answer is cut on its way is the network's business: deltas of a kind in a row are one. */
function joined(received: Received[]): Received[] {
  const events: Received[] = [];
  for (const event of received) {
    const last = events.at(-1);
    if (last !== undefined && event.type.endsWith('_delta') && last.type === event.type) {
      last.data = { ...last.data, text: `${last.data.text}${event.data.text}` };
    } else events.push({ ...event });
  }
  return events;
}

/** Block numbers count up from 0, each started and stopped once, calls and results name the same call. */
function expectCounted(received: Received[]): void {
  const numbers = (type: string) =>
    received.filter((event) => event.type === type).map((event) => event.data.block_index);
  const started = numbers('content_block_start');
  expect(started).toEqual(started.map((_, index) => index));
  expect(numbers('content_block_stop')).toEqual(started);
}

describe.each(WIRES)('told by $wire', ({ wire, provider, model: model_id, path, thinks, ...rest }) => {
  let server: ModelServer;
  let engine: Engine;

  beforeAll(async () => {
    const folder = temporaryFolder();
    server = await startModelServer();
    engine = await startEngine(folder, {
      LLM_PROVIDER: provider,
      LLM_MODEL: model_id,
      LLM_BASE_URL: server.url + path,
      ...('openai_api' in rest && { LLM_OPENAI_API: rest.openai_api }),
    });
    writeFileSync(join(folder, 'workspace', 'a.txt'), 'figs');
  });
  afterAll(async () => {
    await engine.stop();
    await server.close();
  });

  it.each(TRANSCRIPTS)('$name', async (transcript) => {
    server.script(...transcript.replies);
    const received = await all(
      execute(engine, {
        task_id: transcript.name,
        message: 'Go on.',
        direct: true,
        super_thinking: transcript.thinks ?? false,
      }),
    );
    const shown = joined(received);
    expectCounted(shown);
    const unspoken = (text: string) => thinks || !/^(start |stop )?thinking/.test(text);
    expect(shown.filter(({ type }) => type !== 'task_lifecycle').map(line)).toEqual(
      transcript.seen.filter(unspoken),
    );
    for (const event of received.filter(({ type }) => type === 'usage')) {
      expect(event.data).toMatchObject({ model: model_id, cost_usd: expect.any(Number) });
    }
  });
});
