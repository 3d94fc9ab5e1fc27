import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Brain } from '../src/brain/brain.ts';
import { EngineError } from '../src/errors.ts';
import { randomId } from '../src/ids.ts';
import type { Answer } from '../src/turn/record.ts';
import { openTurn, turnRecord } from '../src/turn/record.ts';
import { safeText } from '../src/turn/text.ts';
import { brainOf, closeBrain } from './support/brain.ts';
import { temporaryFolder } from './support/engine.ts';
import { NO_SECRETS } from './support/secrets.ts';
import { stored } from './support/stored.ts';

const parts = (brain: Brain) => ({
  brain,
  now: Date.now,
  newId: randomId,
  hitl_ttl_ms: 60_000,
  secrets: NO_SECRETS,
});
const opening = (task_id: string, turn_id: string) => ({
  task_id,
  turn_id,
  agent: 'assistant',
  message: 'Look.',
  request: '{}',
  metadata: '{}',
  idempotency_key: undefined,
});
const answer: Answer = {
  content: [
    { type: 'text', text: 'Two calls.' },
    { type: 'tool_use', id: 'call_1', name: 'list_files', input: {} },
    { type: 'tool_use', id: 'call_2', name: 'list_files', input: {} },
  ],
  stop_reason: 'tool_use',
  usage: { input_tokens: 1, output_tokens: 1, cache_hit_tokens: 0 },
  model: 'm',
  provider: 'demo',
  cost_usd: 0,
};

describe('a turn that fails in the middle', () => {
  it('answers each call it left open, in the message right after, with what is known of it', async () => {
    const folder = temporaryFolder();
    const before = await brainOf({ folder });
    const first = openTurn(parts(before), opening('cut', 'turn-1'));
    const own = turnRecord(parts(before), { task_id: 'cut', turn_id: 'turn-1' }).thread('');
    own.answer(own.beginCall(1), answer);
    const asking = before.messages.last('cut', '');
    if (asking === undefined) throw new Error('no answer was stored');
    own.settle(asking, { message_id: asking.message_id, ordinal: 1 }, 'done', { output: 'two' }, 5);
    openTurn(parts(before), opening('other', 'turn-2'));
    closeBrain(before);

    const brain = await brainOf({ folder });
    const failure = new EngineError('TURN_TIMEOUT', 'over');
    turnRecord(parts(brain), { task_id: 'cut', turn_id: 'turn-1' }).fail(failure);
    expect(brain.turns.inFlight().map((turn) => turn.turn_id)).toEqual(['turn-2']);

    const [question, calls, results, ...more] = brain.messages.ofThread('cut', '');
    expect(more).toEqual([]);
    expect(question?.content).toEqual([{ type: 'text', text: 'Look.' }]);
    expect(calls?.content).toEqual(answer.content);
    expect(results).toMatchObject({
      role: 'user',
      content: [
        { type: 'tool_result', tool_use_id: 'call_1', error: 'interrupted' },
        { type: 'tool_result', tool_use_id: 'call_2', output: 'two' },
      ],
    });
    const events = stored(brain.events.read(first - 1, Number.MAX_SAFE_INTEGER, 'cut'));
    expect(events.map((event) => event.type)).toEqual([
      'thread_lifecycle',
      'task_lifecycle',
      'usage',
      'tool_call',
      'tool_call',
      'thread_lifecycle',
      'error',
    ]);
  });
});

describe('the ledger', () => {
  it('gives the same action the same key until it has come to an end, whatever the order of its input', async () => {
    const brain = await brainOf();
    openTurn(parts(brain), opening('keys', 'turn-1'));
    const place = { turn_id: 'turn-1', thread_id: '' };
    const call = (input: Record<string, unknown>) => ({
      type: 'tool_use' as const,
      id: 'c',
      name: 'send',
      input,
    });
    const keyOf = (message_id: string, ordinal = 0) => brain.tool_calls.ofMessage(message_id)[ordinal]?.key;

    brain.tool_calls.intend({ ...place, message_id: 'm1' }, [call({ to: 'ada', text: { a: 1, b: 2 } })]);
    brain.tool_calls.settle({ message_id: 'm1', ordinal: 0 }, 'unknown', { output: '' }, 0);
    const again = call({ text: { b: 2, a: 1 }, to: 'ada' });
    brain.tool_calls.intend({ ...place, message_id: 'm2' }, [again, again, call({ to: 'bob' })]);
    expect(keyOf('m2')).toBe(keyOf('m1'));
    expect(new Set([keyOf('m2', 0), keyOf('m2', 1), keyOf('m2', 2)]).size).toBe(3);

    brain.tool_calls.settle({ message_id: 'm2', ordinal: 0 }, 'done', { output: '' }, 0);
    brain.tool_calls.intend({ ...place, message_id: 'm3' }, [again]);
    expect([keyOf('m2', 0), keyOf('m2', 1)]).not.toContain(keyOf('m3'));
  });
});

describe('the event log', () => {
  it('prunes what has outlived its time, keeps what runs, and never gives an id twice', async () => {
    const folder = temporaryFolder();
    let time = 1_000_000;
    const brain = await brainOf({ folder, now: () => time });
    const timed = { ...parts(brain), now: () => time };
    const complete = (turn_id: string) => {
      const own = turnRecord(timed, { task_id: turn_id, turn_id }).thread('');
      own.answer(own.beginCall(1), { ...answer, content: [] });
    };
    const ids = () => stored(brain.events.read(0, Number.MAX_SAFE_INTEGER)).map((event) => event.id);
    for (const turn_id of ['ended', 'running']) openTurn(timed, opening(turn_id, turn_id));
    complete('ended');
    expect(ids()).toEqual([1, 2, 3, 4, 5, 6]);

    time += 60_000;
    brain.events.prune();
    expect(ids()).toEqual([1, 2, 3, 4, 5, 6]);
    time += 1;
    brain.events.prune();
    expect(ids()).toEqual([3, 4]);
    complete('running');
    time += 60_001;
    brain.events.prune();
    expect(ids()).toEqual([]);
    closeBrain(brain);

    const again = await brainOf({ folder, now: () => time });
    expect(again.events.lastId()).toBe(8);
    expect(openTurn({ ...parts(again), now: () => time }, opening('next', 'next'))).toBe(9);
  });
});

describe('text from outside', () => {
  it('is well-formed and without control characters after mending, and mended once for all', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0xffff })), (units) => {
        const mended = safeText(String.fromCharCode(...units));
        expect(mended.isWellFormed()).toBe(true);
        expect(mended).not.toMatch(/[^\P{Cc}\t\n\r\u0080-\u009f]/u);
        expect(safeText(mended)).toBe(mended);
      }),
    );
  });

  it('keeps everything a person can type', () => {
    const typed = 'Tab\there, line\nbreak, Ω漢字 👩‍👩‍👧 مرحبا';
    expect(safeText(typed)).toBe(typed);
  });
});
