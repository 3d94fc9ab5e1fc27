import type { Stretch } from '../../src/brain/channel_state.ts';

export type Stored = { id: number; type: string; data: Record<string, unknown> };

/** What lies in a stretch of the event buffer; every frame has to be a whole one. */
export function stored(stretch: Stretch | undefined): Stored[] {
  if (stretch === undefined) return [];
  const frames = new TextDecoder().decode(stretch.frames).split('\n\n');
  if (frames.pop() !== '') throw new Error('The last frame is not whole');
  return frames.map((frame) => {
    const [, id, type, data] = /^id: (\d+)\nevent: (\w+)\ndata: (.*)$/.exec(frame) ?? [];
    if (data === undefined) throw new Error(`This is no frame: ${frame}`);
    return { id: Number(id), type: String(type), data: JSON.parse(data) };
  });
}
