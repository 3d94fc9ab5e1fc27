import { parentPort, workerData } from 'node:worker_threads';
import { extractText } from 'unpdf';

/**
 * Reads one PDF and tells its text, page by page; empty when there is none. Why it is a thread of its own stands
 * in worker.ts; that is also why what it tells is bounded here, before it reaches the Engine's memory.
 */
const MAX_TOLD_CHARACTERS = 1_000_000;

const { text: pages } = await extractText(new Uint8Array(workerData));
const text = pages
  .map((page, index) => `[page ${index + 1} of ${pages.length}]\n${page.trim()}`)
  .join('\n\n');
const isEmpty = pages.every((page) => page.trim() === '');
parentPort?.postMessage(isEmpty ? '' : text.slice(0, MAX_TOLD_CHARACTERS));
