import { describe, expect, it } from 'vitest';
import { findModel } from '../../src/catalog/models.ts';
import { MODELS } from '../herald/support.ts';

const find = (id: string) => findModel(MODELS, id);

describe('the catalog’s models', () => {
  it('names its sources and the day it was noted', () => {
    expect(MODELS.sources).toHaveLength(3);
    expect(Date.parse(MODELS.noted_on)).toBeGreaterThan(0);
  });

  it('has each id once', () => {
    const ids = MODELS.models.flatMap((row) => row.models);
    expect(ids).toEqual([...new Set(ids)]);
  });

  it.each([
    ['gpt-4o', 'gpt-4o'],
    ['gpt-4o-2024-08-06', 'gpt-4o'],
    ['gpt-4o-mini-2024-07-18', 'gpt-4o-mini'],
    ['claude-sonnet-4-20250514', 'claude-sonnet-4'],
    ['claude-sonnet-4-5', 'claude-sonnet-4-5'],
    ['claude-sonnet-4-5-20250929', 'claude-sonnet-4-5'],
    ['claude-haiku-4-5-20251001', 'claude-haiku-4-5'],
    ['gemini-2.5-flash-lite', 'gemini-2.5-flash-lite'],
    // Of the family, but not a model we know the price of.
    ['gpt-4o-search-preview', 'gpt-*'],
    ['gpt-5.9', 'gpt-5*'],
    ['claude-sonnet-4-7', 'claude-*'],
    ['gemini-9-ultra', 'gemini-*'],
    ['llama3.2:8b', '*'],
    ['', '*'],
  ])('%s is the row of %s', (id, pattern) => {
    expect(find(id).models).toContain(pattern);
  });

  it('knows no price for a model it does not know', () => {
    for (const row of MODELS.models) {
      if (row.models.some((pattern) => pattern.endsWith('*'))) expect(row.prices).toBeNull();
    }
  });
});
