import { describe, expect, it } from 'vitest';
import { createPdfReader } from '../../src/media/pdf.ts';
import { pdf } from './files.ts';

describe('the text of a PDF', () => {
  const reader = createPdfReader();

  it('is told page by page', async () => {
    expect(await reader.text(pdf('Invoice 4711', 'Total 12 EUR'))).toBe(
      '[page 1 of 2]\nInvoice 4711\n\n[page 2 of 2]\nTotal 12 EUR',
    );
  });

  it.each([
    ['a scan has none', pdf('', ''), /no text in it/],
    ['no PDF at all', Buffer.from('hello'), /damaged, locked, or no PDF/],
    ['a broken one', pdf('Half').subarray(0, 60), /damaged, locked, or no PDF/],
  ])('%s', async (_, data, message) => {
    await expect(reader.text(data)).rejects.toThrow(message);
  });

  it('is given up where it takes too long, and the next is read', async () => {
    // No worker is up in a millisecond.
    const impatient = createPdfReader({ time_ms: 1 });
    const both = [impatient.text(pdf('One')), impatient.text(pdf('Two'))];
    for (const reading of both) await expect(reading).rejects.toThrow(/takes longer than/);
  });

  it('is read one at a time, a bad one between good ones', async () => {
    const readings = [pdf('One'), Buffer.from('no'), pdf('Two')].map((data) => reader.text(data));
    expect((await Promise.allSettled(readings)).map(({ status }) => status)).toEqual([
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
  });
});
