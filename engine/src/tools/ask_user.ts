import { z } from 'zod';
import { defineTool, type Tool } from './contract.ts';

/** The longest question; a person has to read it. */
const MAX_QUESTION = 10_000;

/** Asks the person and waits for the answer, however long it takes (E8). Source: engine-runtime, "Human in the loop". */
export function askUserTool(): Tool {
  const input = z.object({
    question: z
      .string()
      .min(1)
      .max(MAX_QUESTION)
      .describe('What to ask. It is shown as it is; say what the answer is for.'),
  });
  return defineTool({
    name: 'ask_user',
    description:
      'Asks the user a question and gives the answer. Use it when only the user can know or decide; the task waits until they answer. Not for what a tool can find out. Example: {"question": "Which of the two reports shall I send?"}',
    effect: 'pure',
    input,
    asks(given) {
      const parsed = input.safeParse(given);
      return parsed.success ? { kind: 'question', question: parsed.data.question } : null;
    },
    async run(_, { answered }) {
      // What breaks the schema never comes here, and what does not is asked first.
      if (answered === undefined) throw new Error('ask_user ran without an answer');
      return { output: answered.answer };
    },
  });
}
