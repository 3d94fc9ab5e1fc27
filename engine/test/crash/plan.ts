import type { ReceivedRequest, Reply, Step } from '@september/model-server';

/**
 * What a model does in a turn of the crash test, written into the user's message, so that the scripted server can
 * say what comes next from the conversation alone: it does not matter how often, or after what, it is asked.
 */
export type Move = {
  say?: string;
  /** It is cut there, at the output limit. */
  cut?: boolean;
  tools?: { tool: string; input: Record<string, unknown> }[];
  /** Instead: the provider refuses with this HTTP status. */
  refused?: number;
};
export type Plan = { name: string; moves: Move[] };

const MARK = 'PLAN ';

export const messageOf = (plan: Plan): string => `${MARK}${JSON.stringify(plan)}`;

/** The model that condenses. */
export const LIGHT = 'light';

/** The next answer in the conversation of a request to the Anthropic wire. */
export function nextReply(request: ReceivedRequest): Reply {
  if (request.body.model === LIGHT) {
    return { steps: [{ text: JSON.stringify({ messages: [], summary: 'They worked.' }) }] };
  }
  const { plan, done } = standOf(request);
  const move = plan.moves[done] ?? { say: 'There is nothing more to do.' };
  if (move.refused !== undefined) return { status: move.refused };
  const steps: Step[] = [
    ...(move.say === undefined ? [] : [{ text: move.say }]),
    ...(move.tools ?? []).map(({ tool, input }, index) => ({ tool, input, id: idOf(plan, done, index) })),
  ];
  return move.cut ? { steps, stop_reason: 'max_tokens' } : { steps };
}

const idOf = ({ name }: Plan, move: number, index: number) => `${name.replace(/\W/g, '_')}_${move}_${index}`;

/** The plan of a request, and how many answers it has had: those before a compaction are told by the ids of calls. */
export function standOf({ body }: ReceivedRequest): { plan: Plan; done: number } {
  const messages = body.messages as { role: string; content: unknown }[];
  const from = messages.findLastIndex(({ content }) => planIn(content) !== undefined);
  const plan = planIn(messages[from]?.content);
  if (plan === undefined) throw new Error('A conversation without a plan');
  const answers = messages.slice(from).filter(({ role }) => role === 'assistant');
  const calling = answers.findLastIndex(({ content }) => moveOf(content) !== undefined);
  return { plan, done: (moveOf(answers[calling]?.content) ?? -1) + answers.length - calling };
}

/** Which move an answer was, if it has calls. */
function moveOf(content: unknown): number | undefined {
  if (!Array.isArray(content)) return undefined;
  const call = content.find((block) => block.type === 'tool_use');
  return call === undefined ? undefined : Number(/_(\d+)_\d+$/.exec(call.id)?.[1]);
}

function planIn(content: unknown): Plan | undefined {
  const texts = Array.isArray(content)
    ? content.flatMap((block) => (block.type === 'text' ? [String(block.text)] : []))
    : [String(content)];
  const text = texts.find((text) => text.startsWith(MARK));
  return text === undefined ? undefined : JSON.parse(text.slice(MARK.length));
}
