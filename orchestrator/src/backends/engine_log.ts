/**
 * The file an engine's output goes to: `engine.log` in its folder, opened for appending by the engine's
 * process itself, so it also grows while no orchestrator runs. Nothing can be put between the two, hence
 * the limit works by copying and truncating: lines written in the instant between are lost, which for a
 * log of last resort is better than a full disk.
 */
import { copyFile, open, stat, truncate } from 'node:fs/promises';
import { isSystemError } from './process.ts';

/** Enough of the end of a log to hold its last line, bytes. */
const TAIL_BYTES = 8 * 1024;

/** Moves a log that is larger than `max_bytes` to `{file}.1`, in place of the one before. */
export async function limitLog(file: string, max_bytes: number): Promise<void> {
  try {
    if ((await stat(file)).size <= max_bytes) return;
    await copyFile(file, `${file}.1`);
    await truncate(file);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw error;
  }
}

/** The last line of a log, for people: the message, where the line is JSON; null when there is none. */
export async function lastWords(file: string): Promise<string | null> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return null;
    throw error;
  }
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, TAIL_BYTES);
    const { buffer } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return lastMessage(buffer.toString('utf8'));
  } finally {
    await handle.close();
  }
}

/** The same of a log's text. */
export function lastMessage(text: string): string | null {
  return messageOf(text.trimEnd().split('\n').at(-1) ?? '') || null;
}

function messageOf(line: string): string {
  try {
    const parsed: unknown = JSON.parse(line);
    if (typeof parsed !== 'object' || parsed === null) return line;
    if ('message' in parsed && typeof parsed.message === 'string') return parsed.message;
  } catch {
    // Not JSON: the line itself is the message.
  }
  return line;
}
