/**
 * Reads a page of the web as text.
 *
 * What comes is a stranger's in every respect: where it redirects, how long it is, what it claims to be, what its HTML
 * does to a parser, and last what it says. So it comes through the guard (net/guard.ts), is read up to a limit, HTML and
 * PDF in a worker, and what it says is marked as brought from outside. Source: engine-runtime, "Platform tools".
 */
import { STATUS_CODES } from 'node:http';
import { z } from 'zod';
import type { PageReader } from '../media/page.ts';
import type { PdfReader } from '../media/pdf.ts';
import { Unreadable } from '../media/worker.ts';
import { readBody, textOf } from '../net/body.ts';
import { type Fetched, type Guard, NoWay } from '../net/guard.ts';
import { defineTool, type Tool, type ToolOutcome } from './contract.ts';

/** A page of an answer, bytes of UTF-8, as of `read_file`. */
const PAGE_BYTES = 50 * 1024;

/** Of one document, bytes; most are a hundred times smaller. */
const MAX_BODY_BYTES = 10 * 1024 * 1024;

/** All of it: redirects, the body, reading. */
const TIME_LIMIT_MS = 60_000;

/** Documents kept for the calls that ask for their next pages, of all tasks; text of one is at most 10 MB, mostly far less. */
const MAX_KEPT = 4;

const USER_AGENT = 'Mozilla/5.0 (compatible; SeptemberEngine/1.0)';
const ACCEPT =
  'text/html,application/xhtml+xml,text/*;q=0.9,application/json;q=0.9,application/pdf;q=0.8,*/*;q=0.1';

type Document = { url: string; title: string | null; media_type: string; cut: boolean; text: Buffer };

export type WebFetchParts = { guard: Guard; pages: PageReader; pdf: PdfReader };

export function webFetchTool({ guard, pages, pdf }: WebFetchParts): Tool {
  /** By task and URL; the one used last comes last. */
  const kept = new Map<string, Document>();

  return defineTool({
    name: 'web_fetch',
    description: `Reads a page of the web by its URL and gives its text (HTML as Markdown, PDF, plain text, JSON), up to ${PAGE_BYTES} bytes at a time. When next_offset is not null there is more: call again with it as offset. A redirect to another host is told, not followed. Only for the public internet, and only to read. To find pages use web_search. Example: {"url": "https://example.com/"}`,
    effect: 'pure',
    brings_outside: true,
    time_limit_ms: TIME_LIMIT_MS,
    input: z.object({
      url: z.string().min(1).max(4_096).describe('Of the page, with http:// or https://.'),
      offset: z.int().min(0).default(0).describe('Byte to start at; use next_offset of the page before.'),
    }),
    acts({ url }) {
      const host = typeof url === 'string' ? URL.parse(url)?.hostname : undefined;
      return host ? [{ kind: 'network', host }] : [];
    },
    async run({ url, offset }, { task_id, signal }) {
      const name = JSON.stringify([task_id, url]);
      // The first page is always fresh; those after it have to be of the same text.
      const found = offset === 0 ? undefined : kept.get(name);
      const document = found ?? (await load(url, signal));
      if ('output' in document) return document;
      kept.delete(name);
      kept.set(name, document);
      for (const oldest of kept.keys()) if (kept.size > MAX_KEPT) kept.delete(oldest);
      return pageOf(document, offset);
    },
  });

  async function load(url: string, signal: AbortSignal): Promise<Document | ToolOutcome> {
    try {
      const fetched = await guard.fetch(url, {
        signal,
        headers: { 'User-Agent': USER_AGENT, Accept: ACCEPT },
      });
      return refusal(url, fetched) ?? (await read(fetched, signal));
    } catch (error) {
      if (error instanceof NoWay) return { error: FAILURES[error.reason], output: error.message };
      if (error instanceof Unreadable)
        return { error: 'invalid_input', output: `What is at ${url} ${error.message}.` };
      throw error;
    }
  }

  async function read({ url, response }: Fetched, signal: AbortSignal): Promise<Document | ToolOutcome> {
    const body = await readBody(response, MAX_BODY_BYTES).catch(() => undefined);
    signal.throwIfAborted();
    if (body === undefined) {
      return { error: 'execution_failed', output: `The answer of ${url.href} broke off.` };
    }
    const { bytes, cut } = body;
    const { media_type, charset } = typeOf(response.headers.get('content-type'), bytes);
    const is_html = media_type === 'text/html' || media_type === 'application/xhtml+xml';
    const head = { url: url.href, media_type, cut };
    if (is_html) {
      const { title, text } = await pages.read(textOf(bytes, charset, true), url);
      return { ...head, title, text: Buffer.from(text) };
    }
    if (media_type === 'application/pdf') {
      if (cut) return { error: 'invalid_input', output: `The PDF has more than ${MAX_BODY_BYTES} bytes.` };
      return { ...head, title: null, text: Buffer.from(await pdf.text(bytes)) };
    }
    if (!TEXT.test(media_type)) {
      return {
        error: 'invalid_input',
        output: `${url.href} is ${media_type}, which cannot be read as text.`,
      };
    }
    return { ...head, title: null, text: Buffer.from(textOf(bytes, charset, false)) };
  }
}

const FAILURES = {
  refused: 'permission_denied',
  invalid: 'invalid_input',
  unreachable: 'execution_failed',
} as const;

/** What is told in place of a document, and drops it. */
function refusal(url: string, { response, elsewhere }: Fetched): ToolOutcome | undefined {
  if (elsewhere !== undefined) {
    const note =
      'It redirects to another host. Call again with redirects_to if that is where you want to go.';
    return { output: { url, redirects_to: elsewhere.href, note } };
  }
  if (response.ok) return undefined;
  response.body?.cancel().catch(() => undefined);
  const { status } = response;
  const gone = status === 404 || status === 410;
  const wait = response.headers.get('retry-after');
  return {
    error: gone ? 'not_found' : 'execution_failed',
    output: [
      `${url} answered ${status} ${STATUS_CODES[status] ?? ''}`.trim().concat('.'),
      ...(wait !== null && /^\d{1,6}$/.test(wait) ? [`Try again after ${wait} s.`] : []),
    ].join(' '),
  };
}

/** What is text though its type does not begin with `text/`. */
const TEXT =
  /^text\/|^application\/(json|xml|yaml|x-yaml|toml|javascript|x-javascript|x-ndjson|x-sh|sql|graphql)$|\+(json|xml|yaml)$/;

/** By what the server says, or, where it says nothing or only "bytes", by how it begins. */
function typeOf(
  header: string | null,
  bytes: Uint8Array,
): { media_type: string; charset: string | undefined } {
  const [type = '', ...parameters] = (header ?? '').toLowerCase().split(';');
  const charset = parameters.map((part) => /^\s*charset\s*=\s*"?([^"\s]+)/.exec(part)?.[1]).find(Boolean);
  const said = type.trim();
  if (said !== '' && said !== 'application/octet-stream') return { media_type: said, charset };
  const start = Buffer.from(bytes.subarray(0, 512)).toString('latin1').trimStart().toLowerCase();
  if (start.startsWith('%pdf-')) return { media_type: 'application/pdf', charset };
  if (/^<(!doctype html|html|head|body)[\s>]/.test(start)) return { media_type: 'text/html', charset };
  return { media_type: bytes.includes(0) ? 'application/octet-stream' : 'text/plain', charset };
}

function pageOf({ url, title, media_type, cut, text }: Document, offset: number): ToolOutcome {
  if (offset > text.length) {
    return { error: 'invalid_input', output: `offset is past the end: the text has ${text.length} bytes.` };
  }
  const start = characterAt(text, offset);
  const end = characterAt(text, offset + PAGE_BYTES);
  return {
    output: {
      url,
      title,
      media_type,
      text: text.toString('utf8', start, end),
      size: text.length,
      next_offset: end < text.length ? end : null,
      ...(cut && { note: `Only the first ${MAX_BODY_BYTES} bytes of the document were read.` }),
    },
  };
}

/** Where the character begins that the byte at `offset` belongs to. */
function characterAt(text: Buffer, offset: number): number {
  let at = Math.min(offset, text.length);
  while (at > 0 && at < text.length && ((text[at] ?? 0) & 0xc0) === 0x80) at--;
  return at;
}
