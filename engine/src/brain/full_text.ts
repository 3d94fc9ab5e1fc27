/** Words of a query that count; more would find everything. */
const MAX_WORDS = 32;

/**
 * What FTS5 is asked for the text of a person or a model: any of its words. In quotes a word is a word, whatever it
 * means in the query language. Undefined where there is no word.
 */
export function anyWordOf(query: string): string | undefined {
  const words = query.match(/[\p{L}\p{N}]+/gu)?.slice(0, MAX_WORDS);
  return words?.map((word) => `"${word}"`).join(' OR ');
}
