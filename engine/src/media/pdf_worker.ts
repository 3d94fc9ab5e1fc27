import { parentPort, workerData } from 'node:worker_threads';
import { extractText } from 'unpdf';

/** Reads one PDF and tells the text of its pages; why it is a process of its own, see pdf.ts. */
const { text } = await extractText(new Uint8Array(workerData));
parentPort?.postMessage(text);
