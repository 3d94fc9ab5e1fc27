/**
 * What is kept of a stream that may be endless: its beginning, which says what was begun, and its end, which says what
 * came of it. What lies between is counted and named, never silently dropped (E20).
 */

/** Kept of one stream, bytes: half from its beginning, half from its end (E20). */
export const KEPT_BYTES = 30 * 1024;

export type Kept = { add(data: Buffer): void; text(): string };

export function createKept(limit = KEPT_BYTES): Kept {
  const head_limit = Math.ceil(limit / 2);
  const tail_limit = Math.floor(limit / 2);
  let head = Buffer.alloc(0);
  let tail = Buffer.alloc(0);
  let total = 0;

  return {
    add(data) {
      total += data.length;
      const room = head_limit - head.length;
      if (room > 0) head = Buffer.concat([head, data.subarray(0, room)]);
      const rest = data.subarray(Math.max(0, room));
      if (rest.length === 0) return;
      tail = Buffer.from(Buffer.concat([tail, rest]).subarray(-tail_limit));
    },
    text() {
      const left_out = total - head.length - tail.length;
      if (left_out === 0) return Buffer.concat([head, tail]).toString('utf8');
      const [start, end] = [headText(head), tailText(tail)];
      return `${start}\n[${left_out} bytes left out here]\n${end}`;
    },
  };
}

/** Without the character that the cut went through. */
const headText = (bytes: Buffer) =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes, { stream: true });

function tailText(bytes: Buffer): string {
  let start = 0;
  while (start < 3 && start < bytes.length && ((bytes[start] ?? 0) & 0xc0) === 0x80) start++;
  return bytes.subarray(start).toString('utf8');
}
