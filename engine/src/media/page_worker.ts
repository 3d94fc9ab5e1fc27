/**
 * Reads one web page and tells what it says. Why it is a thread of its own stands in worker.ts; that is also why what it
 * tells is bounded here, before it reaches the Engine's memory.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { Readability } from '@mozilla/readability';
import { parseHTML } from 'linkedom';
import TurndownService from 'turndown';
import type { Page } from './page.ts';

const MAX_TOLD_CHARACTERS = 1_000_000;
const MAX_TITLE_CHARACTERS = 500;

/** A shorter "article" is a teaser or a cookie banner: then the whole page says more. */
const MIN_ARTICLE_CHARACTERS = 250;

/** What no reader of the page sees, or what is no text. */
const UNSEEN = [
  'body title',
  'script',
  'style',
  'noscript',
  'template',
  'svg',
  'canvas',
  'iframe',
  'object',
  '[hidden]',
  '[aria-hidden="true"]',
  '[style*="display:none"]',
  '[style*="display: none"]',
].join(',');

/** What is used of the DOM; the compiler knows no browser here. */
type Element = {
  textContent: string | null;
  getAttribute(name: string): string | null;
  setAttribute(name: string, value: string): void;
  removeAttribute(name: string): void;
  remove(): void;
};
type Document = {
  body: TurndownService.Node;
  querySelector(selector: string): Element | null;
  querySelectorAll(selector: string): Iterable<Element>;
  cloneNode(deep: true): Document;
};

const { html, url }: { html: string; url: string } = workerData;
parentPort?.postMessage(pageOf(html, url));

function pageOf(source: string, address: string): Page {
  // Without a body nothing of a fragment would be found.
  const document = parse(/<body[\s>]/i.test(source) ? source : `<html><body>${source}</body></html>`);
  const titled = document.querySelector('title')?.textContent ?? '';
  const title = titled.replaceAll(/\s+/g, ' ').trim().slice(0, MAX_TITLE_CHARACTERS);
  for (const element of document.querySelectorAll(UNSEEN)) element.remove();
  resolveLinks(document, address);
  const article = new Readability(document.cloneNode(true)).parse();
  const is_whole = (article?.textContent ?? '').trim().length < MIN_ARTICLE_CHARACTERS;
  const shown = is_whole ? document.body : parse(`<html><body>${article?.content ?? ''}</body></html>`).body;
  return { title: title === '' ? null : title, text: markdown(shown).slice(0, MAX_TOLD_CHARACTERS) };
}

function parse(source: string): Document {
  return parseHTML(source).document;
}

/** Relative links mean nothing to who has only the text. */
function resolveLinks(document: Document, address: string): void {
  const base =
    URL.parse(document.querySelector('base[href]')?.getAttribute('href') ?? '', address)?.href ?? address;
  for (const link of document.querySelectorAll('a[href]')) {
    const target = URL.parse(link.getAttribute('href') ?? '', base);
    if (target?.protocol === 'http:' || target?.protocol === 'https:') link.setAttribute('href', target.href);
    else link.removeAttribute('href');
  }
}

function markdown(body: TurndownService.Node): string {
  const turndown = new TurndownService({
    headingStyle: 'atx',
    codeBlockStyle: 'fenced',
    bulletListMarker: '-',
  });
  turndown.addRule('image', { filter: 'img', replacement: (_, image) => altOf(image as unknown as Element) });
  turndown.addRule('cell', {
    filter: ['td', 'th'],
    replacement: (content) => ` ${content.trim().replaceAll(/\s*\n\s*/g, ' ')} |`,
  });
  turndown.addRule('row', { filter: 'tr', replacement: (content) => `\n|${content}` });
  return turndown.turndown(body).trim();
}

/** Where a picture lies is of no use to who reads text. */
function altOf(image: Element): string {
  const alt = image.getAttribute('alt')?.trim() ?? '';
  return alt === '' ? '' : `[image: ${alt}]`;
}
