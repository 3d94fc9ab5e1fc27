/**
 * What a thread holds, as stored, in the order in which it is sent: stable first, volatile last: tools, system
 * prompt, soul, history, message (E14). Tools are sorted and the history is sent as it was sent before, so that
 * every call extends the prefix the provider has cached; only a compaction, once in a long while, begins a new
 * one. Source: engine-runtime, "Context".
 */
import type { Brain } from '../brain/brain.ts';
import type { Compaction } from '../brain/compactions.ts';
import type { StoredMessage } from '../brain/messages.ts';
import type { Agent, Soul } from '../catalog/catalog.ts';
import type { Message, ToolDef } from '../types.ts';
import { type Cut, sizeOf } from './cut.ts';
import { sentBlocks } from './history.ts';
import type { Memory } from './recall.ts';
import type { ThreadRecord } from './record.ts';
import { add, type Counted, estimateTokens, rateOf, sizeOfBlocks, sizeOfHead, USUAL_RATE } from './tokens.ts';

/** What the model sees in one call. */
export type Context = { system: string; tools: ToolDef[]; messages: Message[] };

/** One conversation with one model; `record`: where what happens in it is written. */
export type Thread = { task_id: string; turn_id: string; record: ThreadRecord; agent: Agent; model: string };

export type ViewParts = {
  brain: Pick<Brain, 'messages' | 'compactions' | 'working_memory'>;
  memory: Memory;
  tools: ToolDef[];
};

type Head = Pick<Context, 'system' | 'tools'>;

/** `history`: what is sent after the text of the compaction. `rate`: tokens per byte of this thread. */
export type View = {
  head: Head;
  compaction: Compaction | undefined;
  history: StoredMessage[];
  tokens: number;
  rate: number;
};

export function viewOf({ brain, memory, tools }: ViewParts, thread: Thread): View {
  const { agent, model, task_id } = thread;
  const { thread_id } = thread.record;
  const head: Head = {
    system: [agent.system_prompt, soulText(memory.soul())].join('\n\n'),
    tools: tools.filter((tool) => agent.tools.includes(tool.name)).sort((a, b) => (a.name < b.name ? -1 : 1)),
  };
  const compaction = brain.compactions.newest(task_id, thread_id);
  const opening = compaction?.opening ?? null;
  const history = [
    ...(opening === null ? [] : brain.messages.at(opening)),
    ...brain.messages.ofThread(task_id, thread_id, compaction?.upto),
    // A model may answer with nothing at all; providers refuse to be sent that back.
  ].filter(({ content }) => content.length > 0);
  return measured(model, { head, compaction, history });
}

/** The text of a compaction goes into the message after it: two of the person in a row are refused by some. */
export function contextOf({ head, compaction, history }: View): Context {
  const messages = history.map((message): Message => ({ role: message.role, content: sentBlocks(message) }));
  if (compaction !== undefined) {
    const text = { type: 'text' as const, text: compaction.text };
    const first = messages[0]?.role === 'user' ? messages.shift() : undefined;
    messages.unshift({ role: 'user', content: [text, ...(first?.content ?? [])] });
  }
  return { ...head, messages };
}

/** Tokens of the request when `cut` is made and `text_bytes` stand in the place of what it takes away. */
export function tokensAfter({ head, rate }: View, { opening, kept }: Cut, text_bytes: number): number {
  const text = { bytes: text_bytes, media: 0 };
  return estimateTokens(
    add(sizeOfHead(head), text, sizeOf(opening === undefined ? kept : [opening, ...kept])),
    undefined,
    rate,
  );
}

/** What was counted last is the request that this model answered last, unless a compaction came in between. */
export function measured(model: string, held: Pick<View, 'head' | 'compaction' | 'history'>): View {
  const { head, compaction, history } = held;
  let size = sizeOfHead(head);
  if (compaction !== undefined) size = add(size, sizeOfBlocks([{ type: 'text', text: compaction.text }]));
  let counted: Counted | undefined;
  for (const message of history) {
    const { position, usage } = message;
    const isOfThisView = position > (compaction?.head ?? 0);
    if (isOfThisView && usage?.model.startsWith(model)) counted = { size, tokens: usage.input_tokens };
    size = add(size, sizeOfBlocks(sentBlocks(message)));
  }
  const rate = counted === undefined ? (compaction?.tokens_per_byte ?? USUAL_RATE) : rateOf(counted);
  return { ...held, tokens: estimateTokens(size, counted, rate), rate };
}

function soulText(soul: Soul): string {
  const list = (title: string, items: string[]) =>
    items.length === 0 ? [] : [`${title}:`, ...items.map((item) => `- ${item}`)];
  return [soul.identity, ...list('Values', soul.values), ...list('Patterns', soul.patterns)].join('\n');
}
