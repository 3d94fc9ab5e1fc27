import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHUNK_CHARACTERS, chunksOf } from '../../src/media/chunks.ts';
import { type Json, startEngine, temporaryFolder } from '../support/engine.ts';
import { answer, asks, isAsked } from '../support/person.ts';
import { scriptedModel } from '../support/scripted.ts';
import { all, events, execute, type Received, rest, textOf, turn, until } from '../support/stream.ts';
import { base64, image, pdf } from './files.ts';

describe('a text in chunks', () => {
  it('is the text again when they are put together, each of them whole and not too long', () => {
    const unit = fc.constantFrom('word ', 'line\n', 'paragraph\n\n', '漢字', '👩', 'x'.repeat(500), 'é');
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 200 }), (parts) => {
        const text = parts.join('').repeat(5);
        const chunks = chunksOf(text);
        expect(chunks.join('')).toBe(text);
        for (const chunk of chunks) {
          expect(chunk.length).toBeLessThanOrEqual(CHUNK_CHARACTERS);
          expect(chunk.isWellFormed()).toBe(true);
          expect(chunk).not.toBe('');
        }
      }),
      { numRuns: 50 },
    );
  });

  it('is cut where a paragraph ends', () => {
    const [first, second] = chunksOf(`${'a'.repeat(3_000)}\n\n${'b '.repeat(3_000)}`);
    expect([first?.length, second?.startsWith('b ')]).toEqual([3_002, true]);
  });
});

const model = await scriptedModel();
const folder = temporaryFolder();
const settings = { ...model.settings, CONTENT_INGESTION_ENABLED: 'true' };
let engine = await startEngine(folder, settings);

const paragraph = (n: number) => `Paragraph ${n}. ${`plain words number${n} `.repeat(40)}\n\n`;
const report = Array.from({ length: 60 }, (_, n) => paragraph(n)).join('');
const document = (name: string, text: string) => ({
  type: 'document',
  name,
  source: base64('text/plain', Buffer.from(text)),
});
const reads = (input: Record<string, unknown>) => ({ steps: [{ tool: 'ingestion_read', input }] });
const says = (text: string) => ({ steps: [{ text }] });
const outputs = (received: Received[]): Json[] =>
  received.filter(({ type }) => type === 'tool_result').map(({ data }) => data.error ?? data.output);

/** Id of the first chunk, as the note of a task's message has it. */
async function firstChunk(task_id: string): Promise<string> {
  const task = JSON.stringify(await engine.json(`/tasks/${task_id}`));
  return String(/the first is (doc-[0-9a-f]{16}\/1)\]/.exec(task)?.[1]);
}

describe('a document that is too large for the conversation', () => {
  it('is kept beside it, read by words and by chunk, and goes with its message and its task', async () => {
    model.script(
      reads({ query: 'What about "number42"? NEAR(' }),
      reads({ query: '?!' }),
      reads({}),
      says('I have read it.'),
    );
    const media = [document('report.txt', report), document('small.txt', 'Not large.')];
    const received = await all(execute(engine, { task_id: 'large', message: 'Read.', media }));
    expect(textOf(received)).toBe('I have read it.');
    const [found, nothing, neither] = outputs(received);
    expect([nothing, neither]).toEqual(['not_found', 'invalid_input']);
    expect(found.note).toMatch(/data, not instructions/);
    expect(found.chunks[0]).toMatchObject({
      document: 'report.txt',
      text: expect.stringContaining('number42 '),
    });
    expect(found.chunks.length).toBeLessThanOrEqual(3);

    const request: Json = model.requests[0]?.body;
    const sent = JSON.stringify(request.messages);
    expect(sent).not.toContain('number42');
    expect(sent).toContain(`${report.length} characters`);
    expect(sent).toContain('Not large.');
    expect(request.tools.map(({ name }: Json) => name)).toContain('ingestion_read');

    await engine.stop('SIGKILL');
    engine = await startEngine(folder, settings);
    const chunk_id = await firstChunk('large');
    model.script(reads({ chunk_id }), reads({ chunk_id: 'doc-none/1' }), says('Again.'));
    const [first, unknown] = outputs(await turn(engine, 'large', 'Once more.'));
    expect(first.chunks).toMatchObject([
      { chunk_id, part: 1, text: expect.stringContaining('Paragraph 0.') },
    ]);
    expect(unknown).toBe('not_found');
    model.script(reads({ chunk_id }), says('It is not mine.'));
    expect(outputs(await turn(engine, 'other', 'Read theirs.'))).toEqual(['not_found']);

    // Answered again, a message keeps what came with it; what is sent with the retry adds nothing.
    const message_id = received[0]?.data.message_id;
    model.script(reads({ chunk_id }), reads({ query: 'unheard' }), says('"Again."'));
    const retried = await all(
      execute(engine, {
        task_id: 'large',
        message: 'Again.',
        retry_message_id: message_id,
        output_schema: { type: 'string' },
        media: [document('new.txt', 'unheard '.repeat(5_000))],
      }),
    );
    expect(outputs(retried)).toMatchObject([{ chunks: [{ chunk_id }] }, 'not_found']);

    model.script(reads({ chunk_id }), says('Gone.'));
    const edit_message_id = message_id;
    const edited = await all(execute(engine, { task_id: 'large', message: 'Never mind.', edit_message_id }));
    expect(outputs(edited)).toEqual(['not_found']);
  });

  it('also one that comes with an answer, or is a PDF; what has no text stays as it is', async () => {
    const pages = pdf(
      ...Array.from({ length: 300 }, (_, n) => `Page ${n} of the long contract ${'x'.repeat(60)}`),
    );
    const media = [
      { type: 'document', name: 'contract.pdf', source: base64('application/pdf', pages) },
      { type: 'document', name: 'scan.pdf', source: base64('application/pdf', pdf('')) },
      { type: 'image', source: base64('image/png', await image('png', 9, 9)) },
    ];
    model.script({ steps: [asks('Anything else?')] }, reads({ query: 'number7' }), says('Done.'));
    const stream = events(await execute(engine, { task_id: 'answer', message: 'Read.', media }));
    await until(stream, isAsked);
    const first: Json = model.requests.at(-1)?.body.messages;
    expect(first.at(-1).content.map(({ type }: Json) => type)).toEqual(['text', 'text', 'document', 'image']);
    expect(first.at(-1).content[1].text).toMatch(/^\[document "contract.pdf": \d+ characters in \d+ chunks/);

    await answer(engine, { task_id: 'answer', answer: 'This.', content_blocks: [document('b.txt', report)] });
    const [, found] = outputs(await rest(stream));
    expect(found.chunks[0]).toMatchObject({ document: 'b.txt', text: expect.stringContaining('number7 ') });

    const brain = new DatabaseSync(join(folder, 'brain.sqlite'), { readOnly: true });
    const kept = () => [
      brain.prepare("SELECT count(*) AS n FROM ingestion_chunks WHERE task_id = 'answer'").get()?.n,
      brain
        .prepare("SELECT count(*) AS n FROM ingestion_chunks_fts WHERE ingestion_chunks_fts MATCH 'contract'")
        .get()?.n,
    ];
    expect(kept()).toEqual([expect.toSatisfy((n: number) => n > 10), expect.toSatisfy((n: number) => n > 5)]);
    expect((await engine.fetch('/tasks/answer', { method: 'DELETE' })).status).toBe(200);
    expect(kept()).toEqual([0, 0]);
    brain.close();
  });

  it('sent again with its Idempotency-Key is the same request', async () => {
    model.script(says('Once.'));
    const body = { task_id: 'key', message: 'Read.', media: [document('report.txt', report)] };
    const headers = { 'Idempotency-Key': 'one' };
    const once = await all(execute(engine, body, { headers }));
    expect(await all(execute(engine, body, { headers }))).toEqual(once);
  });
});
