/**
 * What a web page says, as Markdown: its article without the menus around it, or all of it where there is no article.
 * HTML is a stranger's, so it is read as worker.ts has it, one at a time.
 */
import { oneAtATime, readInWorker } from './worker.ts';

export type PageReader = {
  /** `url`: of the page, for the links in it. @throws Unreadable; its message says why. */
  read(html: string, url: URL): Promise<Page>;
};

/** `title` is null where the page has none. */
export type Page = { title: string | null; text: string };

/** An ordinary page takes a fraction of a second, most of it to load the reader. */
const TIME_LIMIT_MS = 20_000;

export function createPageReader(limits = { time_ms: TIME_LIMIT_MS }): PageReader {
  const inTurn = oneAtATime();
  return {
    read: (html, url) =>
      inTurn(() =>
        readInWorker<Page>({
          script: new URL('./page_worker.ts', import.meta.url),
          data: { html, url: url.href },
          time_ms: limits.time_ms,
          broken: 'cannot be read as HTML',
        }),
      ),
  };
}
