import { type ModelServer, startModelServer } from '@september/model-server';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ContentBlock } from '../../src/types.ts';
import { assistant, call, heraldOn, outcome, TOOL, user, WIRES } from './support.ts';

let server: ModelServer;
beforeEach(async () => {
  server = await startModelServer();
});
afterEach(() => server.close());

const ANSWER = { steps: [{ text: 'I see.' }] };
const PNG = 'iVBORw0KGgo=';
const picture: ContentBlock = {
  type: 'image',
  source: { type: 'base64', media_type: 'image/png', data: PNG },
};
const linked: ContentBlock = { type: 'image', source: { type: 'url', url: 'https://example.com/chart.png' } };
const report: ContentBlock = {
  type: 'document',
  name: 'report.pdf',
  source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0=' },
};
const sound: ContentBlock = {
  type: 'audio',
  source: { type: 'base64', media_type: 'audio/wav', data: 'UklGRg==' },
};
const film: ContentBlock = {
  type: 'video',
  source: { type: 'base64', media_type: 'video/mp4', data: 'AAAAGA==' },
};
const notes: ContentBlock = {
  type: 'document',
  name: 'notes.md',
  source: { type: 'base64', media_type: 'text/markdown', data: 'IyBIaQ==' },
  text: '# Hi',
};

type Wire = (typeof WIRES)[number];
const [ANTHROPIC, RESPONSES, CHAT, GEMINI] = WIRES;

/** What was sent of the last message of the user's side. */
async function sent(wire: Wire, model: string, ...content: ContentBlock[]): Promise<unknown> {
  const { herald } = heraldOn(server, wire, { model });
  server.script(ANSWER);
  const { error } = await outcome(call(herald, [user(...content)]));
  expect(error).toBeUndefined();
  const body = server.requests.at(-1)?.body ?? {};
  const turns = (body.messages ?? body.input ?? body.contents) as Record<string, unknown>[];
  const last = turns.at(-1);
  return JSON.parse(
    JSON.stringify(last?.content ?? last?.parts, (key, value) =>
      key === 'cache_control' ? undefined : value,
    ),
  );
}

describe('media in each provider’s words', () => {
  it('anthropic: images and documents, as data or by URL', async () => {
    expect(await sent(ANTHROPIC, 'claude-sonnet-4-5', picture, linked, report)).toEqual([
      { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } },
      { type: 'image', source: { type: 'url', url: 'https://example.com/chart.png' } },
      {
        type: 'document',
        title: 'report.pdf',
        source: { type: 'base64', media_type: 'application/pdf', data: 'JVBERi0=' },
      },
    ]);
  });

  it('openai responses: the same', async () => {
    expect(await sent(RESPONSES, 'gpt-5', picture, linked, report)).toEqual([
      { type: 'input_image', image_url: `data:image/png;base64,${PNG}` },
      { type: 'input_image', image_url: 'https://example.com/chart.png' },
      {
        type: 'input_file',
        filename: 'report.pdf',
        file_data: 'data:application/pdf;base64,JVBERi0=',
      },
    ]);
  });

  it('openai chat: images; sound where the model hears', async () => {
    expect(await sent(CHAT, 'gpt-4o', picture)).toEqual([
      { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } },
    ]);
    expect(await sent(CHAT, 'gpt-audio', sound)).toEqual([
      { type: 'input_audio', input_audio: { data: 'UklGRg==', format: 'wav' } },
    ]);
  });

  it('gemini: everything, as data', async () => {
    expect(await sent(GEMINI, 'gemini-2.5-pro', picture, report, sound, film)).toEqual([
      { inlineData: { mimeType: 'image/png', data: PNG } },
      { inlineData: { mimeType: 'application/pdf', data: 'JVBERi0=' } },
      { inlineData: { mimeType: 'audio/wav', data: 'UklGRg==' } },
      { inlineData: { mimeType: 'video/mp4', data: 'AAAAGA==' } },
    ]);
  });
});

describe.each(WIRES)('$wire, about what it takes', (wire) => {
  it('says nothing that it then does not do', async () => {
    const { takes } = heraldOn(server, wire).herald.info(wire.model);
    const blocks = { image: picture, document: report, audio: sound, video: film };
    for (const [kind, block] of Object.entries(blocks)) {
      const text = JSON.stringify(await sent(wire, wire.model, block));
      const taken = takes[kind as keyof typeof takes] !== 'no';
      expect([kind, text.includes('this model does not take it')]).toEqual([kind, !taken]);
    }
  });

  it('a text file is text for everybody', async () => {
    expect(JSON.stringify(await sent(wire, wire.model, notes))).toContain(
      JSON.stringify('[document "notes.md"]\n# Hi\n[end of document "notes.md"]'),
    );
  });

  it('a picture of long ago does not stop a model that sees none', async () => {
    const { herald } = heraldOn(server, wire, { model: 'demo' });
    server.script(ANSWER);
    const history = [
      user('What is this?', picture),
      assistant({ type: 'text', text: 'A cat.' }),
      user('And?'),
    ];
    expect((await outcome(call(herald, history, { tools: [TOOL] }))).error).toBeUndefined();
    expect(JSON.stringify(server.requests[0]?.body)).toContain('[image: not shown');
    expect(JSON.stringify(server.requests[0]?.body)).not.toContain(PNG);
  });
});

it('a document that is not taken is its text, where that is there', async () => {
  expect(await sent(CHAT, 'gpt-4o', { ...report, text: '[page 1 of 1]\nTotal' } as ContentBlock)).toEqual(
    '[document "report.pdf"]\n[page 1 of 1]\nTotal\n[end of document "report.pdf"]',
  );
});

describe('a provider that refuses media', () => {
  const bad = { status: 400, message: 'Could not process image' };
  const history = [user('First.', report), assistant({ type: 'text', text: 'Yes.' }), user('This?', picture)];
  const body = (call: number) => JSON.stringify(server.requests[call]?.body);

  it('is asked again without those of the newest message, and never with them again', async () => {
    const { herald, warnings } = heraldOn(server, ANTHROPIC, { media_error_recovery: true });
    server.script(bad, ANSWER, ANSWER);
    const { events, error } = await outcome(call(herald, history));
    expect(error).toBeUndefined();
    expect(events.at(-1)).toMatchObject({ type: 'finish' });
    expect(body(0)).toContain(PNG);
    expect(body(1)).not.toContain(PNG);
    expect(body(1)).toContain('[image: left out');
    expect(body(1)).toContain('JVBERi0=');
    expect(warnings).toHaveLength(1);

    await outcome(call(herald, [...history, assistant({ type: 'text', text: 'Hm.' }), user('Well?')]));
    expect(server.requests).toHaveLength(3);
    expect(body(2)).not.toContain(PNG);
    expect(body(2)).toContain('[image: left out');
  });

  it('and says the same without them: the media stay, the error is the first', async () => {
    const { herald, warnings } = heraldOn(server, ANTHROPIC, { media_error_recovery: true });
    server.script({ status: 400, message: 'First words' }, { status: 400, message: 'Second words' }, ANSWER);
    expect(String((await outcome(call(herald, history))).error)).toContain('First words');
    expect(warnings).toEqual([]);
    await outcome(call(herald, history));
    expect(body(2)).toContain(PNG);
  });

  it('is believed at once without the flag, or without media', async () => {
    server.script(bad, bad);
    const off = await outcome(call(heraldOn(server, ANTHROPIC).herald, history));
    expect(off.error).toMatchObject({ code: 'LLM_PROVIDER_ERROR', details: { status: 400 } });
    const { herald } = heraldOn(server, ANTHROPIC, { media_error_recovery: true });
    expect((await outcome(call(herald, [user('Hi')]))).error).toMatchObject({ details: { status: 400 } });
    expect(server.requests).toHaveLength(2);
  });
});
