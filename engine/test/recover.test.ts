import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type Brain, openBrain } from '../src/brain/brain.ts';
import { parseConfig } from '../src/config.ts';
import { randomId } from '../src/ids.ts';
import { createLog } from '../src/observe/log.ts';
import type { Answer } from '../src/turn/record.ts';
import { openTurn, turnRecord } from '../src/turn/record.ts';
import { endLeftTurns } from '../src/turn/recover.ts';
import { environment, temporaryFolder } from './support/engine.ts';

const open: Brain[] = [];
afterEach(() => {
  for (const brain of open.splice(0)) brain.close();
});

/** A brain on its own, as the Engine opens it. */
async function brainIn(folder: string): Promise<Brain> {
  const config = parseConfig(environment(folder), folder);
  const brain = await openBrain({
    path: join(folder, 'brain.sqlite'),
    migrations_dir: config.migrations_dir,
    epoch: undefined,
    key_hash: config.key.hash,
    key_overlap: { min_s: 0, max_s: 300 },
    replay_ttl_ms: 60_000,
    now: Date.now,
    onError: (error) => {
      throw error;
    },
  });
  open.push(brain);
  return brain;
}

const parts = (brain: Brain) => ({ brain, now: Date.now, newId: randomId });
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
};

describe('a turn that was cut off', () => {
  it('is ended once; each call it left open is answered, in the message right after', async () => {
    const folder = temporaryFolder();
    const before = await brainIn(folder);
    const first = openTurn(parts(before), opening('cut', 'turn-1'));
    turnRecord(parts(before), { task_id: 'cut', turn_id: 'turn-1' }).answer(answer, []);
    openTurn(parts(before), opening('other', 'turn-2'));
    before.close();
    open.pop();

    const brain = await brainIn(folder);
    endLeftTurns(parts(brain), createLog('ERROR'), 'cut');
    expect(brain.turns.running().map((turn) => turn.turn_id)).toEqual(['turn-2']);
    endLeftTurns(parts(brain), createLog('ERROR'));
    endLeftTurns(parts(brain), createLog('ERROR'));
    expect(brain.turns.running()).toEqual([]);

    const [question, calls, results, ...more] = brain.messages.ofTask('cut');
    expect(more).toEqual([]);
    expect(question?.content).toEqual([{ type: 'text', text: 'Look.' }]);
    expect(calls?.content).toEqual(answer.content);
    expect(results).toMatchObject({
      role: 'user',
      content: [
        { type: 'tool_result', tool_use_id: 'call_1', error: 'interrupted' },
        { type: 'tool_result', tool_use_id: 'call_2', error: 'interrupted' },
      ],
    });
    const events = brain.events.read(first - 1, Number.MAX_SAFE_INTEGER, 'cut');
    expect(events.map((event) => event.type)).toEqual([
      'thread_lifecycle',
      'usage',
      'thread_lifecycle',
      'error',
    ]);
  });
});

describe('the event log', () => {
  it('never gives an id twice, also after everything was pruned', async () => {
    const folder = temporaryFolder();
    const brain = await brainIn(folder);
    openTurn(parts(brain), opening('task', 'turn-1'));
    turnRecord(parts(brain), { task_id: 'task', turn_id: 'turn-1' }).complete({ ...answer, content: [] });
    const last = brain.events.lastId();
    expect(last).toBe(3);
    const later = { ...parts(brain), now: () => Date.now() + 120_000 };
    openTurn(later, opening('task', 'turn-2'));
    turnRecord(later, { task_id: 'task', turn_id: 'turn-2' }).complete({ ...answer, content: [] });
    brain.close();
    open.pop();

    const again = await brainIn(folder);
    expect(again.events.lastId()).toBe(6);
    expect(again.events.read(0, Number.MAX_SAFE_INTEGER).map((event) => event.id)).toEqual([
      1, 2, 3, 4, 5, 6,
    ]);
  });
});
