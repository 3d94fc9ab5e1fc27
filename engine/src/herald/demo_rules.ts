import type { Message } from '../types.ts';

/**
 * What the demo model answers: a table of rules, tried from the top, the first that answers wins (E2).
 *
 * Pure functions over the conversation: the same messages always give the same answer, so a turn that is
 * continued after a crash goes on exactly as it would have, and nothing has to be kept between calls.
 */

/** A conversation as the rules see it. */
export type Conversation = {
  /** What the person wrote last. */
  said: string;
  /** What the person wrote before that, oldest first. */
  earlier: string[];
  /** Names of the tools the model may call. */
  tools: Set<string>;
  /** Results of the calls the model made in its last answer; empty when a person spoke last. */
  results: { tool: string; input: Record<string, unknown>; output: unknown; error?: string }[];
};

export type Answer = { text: string; call?: { tool: string; input: Record<string, unknown> } };

type Rule = {
  name: string;
  /** Matched against what was said. */
  on: RegExp;
  /** `undefined` passes on to the next rule. `found` are the pattern's groups that matched. */
  answer(found: string[], conversation: Conversation): Answer | undefined;
};

/** A counting answer is the demo's long answer; longer ones only cost patience. */
const COUNT_LIMIT = 1000;
/** Characters of a tool's output that an answer quotes. */
const DIGEST_LENGTH = 400;
/** Characters of a message that are heard. Rules search back and forth; a message may be megabytes. */
const HEARD_LENGTH = 2000;

const ABOUT =
  'I am the demo model: small fixed rules inside the Engine, no language model, because no provider key is set.';
const ABILITIES =
  'I can say what you told me ("what did I say?", "my name is Ada", "what is my name?"), do simple sums ("17 * 3"), ' +
  'count ("count to 20"), and use tools: "list the files", "read the file notes.txt", "run: ls -la", ' +
  '"fetch https://example.com".';
const REAL_MODEL = 'For real answers set LLM_PROVIDER and its key and start the Engine again.';

/** A path in quotes or without spaces. Sentence punctuation at its end is not part of it. */
const PATH = /(?:"([^"]+)"|'([^']+)'|`([^`]+)`|([^\s"'`]*[^\s"'`.,;:?!]))/.source;
/** What looks like a path by itself, without the word "file" before it. */
const EVIDENT_PATH = /([^\s"'`]*[./][^\s"'`]*[^\s"'`.,;:?!])/.source;
const NUMBER = /(-?\d+(?:\.\d+)?)/.source;

const RULES: Rule[] = [
  {
    name: 'run a command',
    on: /^\s*(?:please\s+)?(?:(?:run|execute)\s*(?::|the command\b)|\$)\s*(?:`([^`]+)`|(\S.*))/is,
    answer: ([command], { tools }) => callTool(tools, 'bash', { command: command?.trim() }),
  },
  {
    name: 'fetch a page',
    on: /\b(?:fetch|read|open|get)\b.*?(https?:\/\/[^\s"'`]*[^\s"'`.,;:?!])/i,
    answer: ([url], { tools }) => callTool(tools, 'web_fetch', { url }),
  },
  {
    name: 'read a file',
    on: new RegExp(`\\b(?:read|open|show|print|cat)\\b.*?\\bfile\\s+(?:called\\s+|named\\s+)?${PATH}`, 'i'),
    answer: ([path], { tools }) => callTool(tools, 'read_file', { path }),
  },
  {
    name: 'read a path',
    on: new RegExp(`\\b(?:read|open|print|cat)\\s+${EVIDENT_PATH}`, 'i'),
    answer: ([path], { tools }) => callTool(tools, 'read_file', { path }),
  },
  {
    name: 'list files',
    on: new RegExp(
      `\\b(?:list|show|what|which)\\b.*?\\bfiles\\b(?:.*?\\b(?:in|under)\\s+(?:the\\s+)?(?:folder\\s+|directory\\s+)?${PATH})?`,
      'i',
    ),
    answer: ([path], { tools }) => callTool(tools, 'list_files', path === undefined ? {} : { path }),
  },
  {
    name: 'name asked',
    on: /\bwhat(?:'s| is) my name\b|\bdo you (?:know|remember) my name\b/i,
    answer: (_, { earlier }) => {
      const name = earlier.toReversed().map(nameIn).find(Boolean);
      return { text: name ? `Your name is ${name}; you told me.` : 'You have not told me your name yet.' };
    },
  },
  {
    name: 'name told',
    on: /\bmy name is\b/i,
    answer: (_, { said }) => {
      const name = nameIn(said);
      return name ? { text: `Nice to meet you, ${name}. Ask me later what your name is.` } : undefined;
    },
  },
  {
    name: 'first message',
    on: /\b(?:first|1st)\s+(?:message|thing|question)\b|\bwhat did i say first\b/i,
    answer: (_, { said, earlier }) => ({ text: `Your first message was: "${earlier[0] ?? said}"` }),
  },
  {
    name: 'last message',
    on: /\bwhat (?:did|have) i (?:just )?(?:say|said|ask|asked|write|written|tell|told)\b|\b(?:last|previous) message\b/i,
    answer: (_, { earlier }) => ({
      text:
        earlier.length === 0
          ? 'You have said nothing before this.'
          : `Before this you said: "${earlier.at(-1)}"`,
    }),
  },
  {
    name: 'how many messages',
    on: /\bhow many (?:messages|questions|times)\b/i,
    answer: (_, { earlier }) => ({
      text: `You have sent ${earlier.length + 1} in this conversation, this one included.`,
    }),
  },
  {
    name: 'count',
    on: /\bcount (?:up )?to (\d{1,9})\b/i,
    answer: ([last]) => {
      const limit = Math.min(Number(last), COUNT_LIMIT);
      return { text: Array.from({ length: limit }, (_, index) => index + 1).join(' ') };
    },
  },
  {
    name: 'sum',
    on: new RegExp(
      `(?:^|\\s)${NUMBER}\\s*([-+*/x×÷]|plus|minus|times|divided by)\\s*${NUMBER}(?=$|[\\s=?.!])`,
      'i',
    ),
    answer: ([left = '', operator = '', right = '']) => ({
      text: `${left} ${operator} ${right} = ${calculate(Number(left), operator.toLowerCase(), Number(right))}`,
    }),
  },
  {
    name: 'help',
    on: /\bhelp\b|\bwhat can you do\b/i,
    answer: () => ({ text: `${ABILITIES} ${REAL_MODEL}` }),
  },
  {
    name: 'who',
    on: /\bwho are you\b|\bwhat are you\b|\bwhat(?:'s| is) your name\b|\bwhich model\b/i,
    answer: () => ({ text: `${ABOUT} ${ABILITIES} ${REAL_MODEL}` }),
  },
  { name: 'thanks', on: /\bthank(?:s| you)\b/i, answer: () => ({ text: 'You are welcome.' }) },
  {
    name: 'greeting',
    on: /\b(?:hello|hi|hey|good (?:morning|afternoon|evening))\b/i,
    answer: () => ({ text: `Hello! ${ABOUT} Ask me what I can do.` }),
  },
];

/** The answer to a conversation, and the name of the rule that gave it. */
export function answerTo(conversation: Conversation): Answer & { rule: string } {
  if (conversation.results.length > 0) {
    return { rule: 'tool result', text: conversation.results.map(digest).join('\n\n') };
  }
  for (const rule of RULES) {
    const match = rule.on.exec(conversation.said);
    const answer =
      match &&
      rule.answer(
        match.slice(1).filter((group) => group !== undefined),
        conversation,
      );
    if (answer) return { rule: rule.name, ...answer };
  }
  return {
    rule: 'anything else',
    text: `You said: "${conversation.said}". ${ABOUT} ${ABILITIES} ${REAL_MODEL}`,
  };
}

/** What the rules need of a model call's messages. */
export function readConversation(messages: Message[], tools: Iterable<string>): Conversation {
  const texts = messages.filter((message) => message.role === 'user').flatMap(spokenText);
  const calls = new Map(
    messages
      .flatMap((message) => message.content)
      .flatMap((block) => (block.type === 'tool_use' ? [[block.id, block]] : [])),
  );
  const results = (messages.at(-1)?.content ?? []).flatMap((block) => {
    if (block.type !== 'tool_result') return [];
    const call = calls.get(block.tool_use_id);
    return [
      { tool: call?.name ?? 'tool', input: call?.input ?? {}, output: block.output, error: block.error },
    ];
  });
  return { said: texts.at(-1) ?? '', earlier: texts.slice(0, -1), tools: new Set(tools), results };
}

/** The person's own words are the last text of a message; what the Engine puts before them is context (E14). */
function spokenText(message: Message): string[] {
  const texts = message.content.filter((block) => block.type === 'text');
  const spoken = texts.findLast((text) => text.note === undefined);
  return spoken ? [spoken.text.slice(0, HEARD_LENGTH).trim()] : [];
}

function callTool(tools: Set<string>, tool: string, input: Record<string, unknown>): Answer {
  return tools.has(tool)
    ? { text: `Let me call ${tool}.`, call: { tool, input } }
    : { text: `That needs the tool ${tool}, which this agent does not have.` };
}

function digest({ tool, input, output, error }: Conversation['results'][number]): string {
  const subject = typeof input.path === 'string' ? `${tool} of ${input.path}` : tool;
  const text = shorten(outputText(output));
  return error === undefined
    ? `${subject} gave:\n${text}`
    : `${subject} failed (${error}). ${text}`.trimEnd();
}

/** The readable part of what our tools answer: a page of text, what a command said, a list of entries, else all of it. */
function outputText(output: unknown): string {
  if (typeof output !== 'object' || output === null) return String(output ?? '');
  if ('text' in output && typeof output.text === 'string') return output.text;
  if ('stdout' in output && 'stderr' in output)
    return `${output.stdout}${output.stderr}`.trimEnd() || '(nothing)';
  if ('entries' in output && Array.isArray(output.entries)) {
    return output.entries.length === 0
      ? '(nothing)'
      : output.entries.map(({ name }) => `- ${name}`).join('\n');
  }
  return JSON.stringify(output);
}

function shorten(text: string): string {
  return text.length > DIGEST_LENGTH ? `${text.slice(0, DIGEST_LENGTH)} …` : text;
}

function nameIn(text: string): string | undefined {
  return /\bmy name is\s+([\p{L}][\p{L}'-]*)/iu.exec(text)?.[1];
}

function calculate(left: number, operator: string, right: number): string {
  switch (operator) {
    case '+':
    case 'plus':
      return String(left + right);
    case '-':
    case 'minus':
      return String(left - right);
    case '*':
    case 'x':
    case '×':
    case 'times':
      return String(left * right);
    default:
      return right === 0 ? 'nothing; one cannot divide by zero' : String(left / right);
  }
}
