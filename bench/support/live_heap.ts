/**
 * What a Node.js process holds on to. Its resident memory says little: garbage counts until V8 finds a reason to
 * collect it. So it is told to collect, by the debugger's protocol, and what is left is counted.
 */
import { once } from 'node:events';

/** @param inspector where the debugger of the process listens, `ws://…`. @returns MiB. */
export async function liveHeap(inspector: string): Promise<number> {
  const socket = new WebSocket(inspector);
  await once(socket, 'open');
  const ask = async (id: number, method: string) => {
    const answered = once(socket, 'message');
    socket.send(JSON.stringify({ id, method }));
    const [{ data }] = await answered;
    return JSON.parse(data).result;
  };
  await ask(1, 'HeapProfiler.collectGarbage');
  const { usedSize } = await ask(2, 'Runtime.getHeapUsage');
  socket.close();
  return usedSize / 2 ** 20;
}
