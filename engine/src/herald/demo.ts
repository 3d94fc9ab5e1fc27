import type { Message, StreamEvent, TextBlock, ThinkingBlock, ToolUseBlock } from '../types.ts';
import type { ModelInfo, ModelRequest } from './contract.ts';
import { costOf } from './cost.ts';
import { exampleOf } from './demo_example.ts';
import { answerTo, readConversation } from './demo_rules.ts';
import { explain } from './failure.ts';
import type { Provider } from './provider.ts';
import type { Clock } from './timing.ts';

/**
 * The offline model (E2): makes the whole path of a turn live without a provider key. It streams word by
 * word at reading speed, because an answer that arrives in one piece would hide a stream that does not work.
 */

/** Pause between two words, milliseconds. Quick to wait for, slow enough to be seen streaming. */
const WORD_PACE_MS = 15;
/** Rough size of a token in characters, so that `usage` is not empty. */
const CHARACTERS_PER_TOKEN = 4;

/** A model that answers by the rules of demo_rules.ts. Never fails; an abort ends it with `signal.reason`. */
export function createDemo(clock: Clock): Provider {
  return {
    stream: (request, info) => stream(request, info, clock),
    explain: (error) => explain(error, 'demo', ''),
  };
}

async function* stream(request: ModelRequest, info: ModelInfo, clock: Clock): AsyncIterable<StreamEvent> {
  const toolNames = request.tools.map((tool) => tool.name);
  const { messages, said } = beforeNotes(request.messages);
  const found = answerTo(readConversation(messages, toolNames));
  const { output_schema: schema } = request;
  const answer =
    schema === undefined || found.call !== undefined
      ? found
      : { ...found, text: JSON.stringify(exampleOf(schema, found.text)) };

  const blocks: (TextBlock | ThinkingBlock | ToolUseBlock)[] = [];
  if (request.thinking) blocks.push({ type: 'thinking', text: `This looks like "${answer.rule}" to me.` });
  const words = wordsOf(answer.text).slice(said);
  const spoken = words.slice(0, request.max_tokens);
  blocks.push({ type: 'text', text: spoken.join('') });
  const complete = spoken.length === words.length;
  if (answer.call && complete) blocks.push(toolUse(answer.call, request));

  for (const [index, block] of blocks.entries()) {
    yield { type: 'block_start', index, block_type: block.type };
    if (block.type !== 'tool_use') {
      for (const text of wordsOf(block.text)) {
        await clock.wait(WORD_PACE_MS, request.signal);
        yield { type: block.type, index, text };
      }
    }
    yield { type: 'block_stop', index, block };
  }

  const usage = {
    input_tokens: tokens(request.system) + tokens(JSON.stringify(request.messages)),
    output_tokens: tokens(JSON.stringify(blocks)),
    cache_hit_tokens: 0,
  };
  yield {
    type: 'finish',
    stop_reason: !complete ? 'max_tokens' : answer.call ? 'tool_use' : 'end_turn',
    usage,
    model: info.model,
    provider: 'demo',
    cost_usd: costOf(info.prices, { ...usage, cache_write_tokens: 0 }),
  };
}

/**
 * What was asked, without the answers that the Engine has sent back since. `said`: words that the answer already has,
 * where it only goes on.
 */
function beforeNotes(messages: Message[]): { messages: Message[]; said: number } {
  let end = messages.length;
  let said = 0;
  for (;;) {
    const { role, content } = messages[end - 1] ?? {};
    const kinds = content?.map((block) => (block.type === 'text' ? block.note : undefined));
    if (role !== 'user' || kinds === undefined || kinds.includes(undefined)) break;
    end -= 1;
    const answer = messages[end - 1];
    if (answer?.role !== 'assistant') continue;
    end -= 1;
    if (kinds.includes('continue')) said += wordsOf(textOf(answer)).length;
  }
  return { messages: messages.slice(0, end), said };
}

const wordsOf = (text: string) => text.match(/\s*\S+/g) ?? [];

const textOf = ({ content }: Message) =>
  content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');

/** The id counts the calls of the conversation: unique in it, and the same when the call is made again. */
function toolUse(
  call: { tool: string; input: Record<string, unknown> },
  request: ModelRequest,
): ToolUseBlock {
  const before = request.messages
    .flatMap((message) => message.content)
    .filter((block) => block.type === 'tool_use');
  return { type: 'tool_use', id: `demo-call-${before.length + 1}`, name: call.tool, input: call.input };
}

const tokens = (text: string) => Math.ceil(text.length / CHARACTERS_PER_TOKEN);
