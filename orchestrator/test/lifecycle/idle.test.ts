import type { Activity } from '@september/contract';
import { describe, expect, it } from 'vitest';
import { judgeLook, SCAN_S, startIdleDetector } from '../../src/lifecycle/idle.ts';
import { judgeIdle } from '../../src/lifecycle/sleep.ts';
import type { SleepDepth } from '../../src/registry/engines.ts';

const NOW = Date.parse('2026-01-01T00:00:00.000Z');
const at = (ms: number) => new Date(ms).toISOString();
const activity = (change: Partial<Activity> = {}): Activity => ({
  in_flight_turns: 0,
  open_streams: 0,
  pending_hitl: 0,
  last_activity_at: at(NOW - 10_000),
  busy_until: null,
  ...change,
});

describe('idle', () => {
  it.each([
    ['quiet for long enough', {}, { idle: true }],
    ['a turn', { in_flight_turns: 1 }, { idle: false, again_in_ms: 10_000 }],
    ['a stream', { open_streams: 1 }, { idle: false, again_in_ms: 10_000 }],
    ['used lately', { last_activity_at: at(NOW - 9_999) }, { idle: false, again_in_ms: 1 }],
    ['a clock ahead of ours', { last_activity_at: at(NOW + 60_000) }, { idle: false, again_in_ms: 10_000 }],
    ['due work', { busy_until: at(NOW + 500) }, { idle: false, again_in_ms: 500 }],
    ['past work', { busy_until: at(NOW) }, { idle: true }],
    ['waiting for a person', { pending_hitl: 3 }, { idle: true }],
  ])('%s', (_, change, verdict) => {
    expect(judgeIdle(activity(change), NOW, 10_000)).toMatchObject(verdict);
  });

  it('counts only what goes on now where a person asks', () => {
    expect(judgeIdle(activity({ last_activity_at: at(NOW + 1) }), NOW, 0)).toEqual({ idle: true });
    expect(judgeIdle(activity({ in_flight_turns: 1 }), NOW, 0)).toMatchObject({ idle: false });
  });
});

it('no detector looks where nothing is to fall asleep by itself', () => {
  const sleep = { idle_timeout_s: 0, sleep_mode: 'doze', hibernate_after_s: 1 };
  expect(startIdleDetector({ sleep } as never, new AbortController().signal)).toBeNull();
});

const DAY_S = 86_400;
const settings = { idle_timeout_s: 900, sleep_mode: 'doze+hibernate', hibernate_after_s: 3600 } as const;

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * A day of one user's engine, second by second: turns of seconds to an hour, in which the model thinks for
 * minutes between two events and no client need be attached; streams left open; pauses of seconds to hours,
 * after which the user is admitted; a part of the questions is not answered in time. The engine is the oracle: it knows when it works and since when it is idle.
 */
function simulateDay(seed: number, unanswered: number) {
  const random = randomOf(seed);
  const between = (min: number, max: number) => Math.round(min * (max / min) ** random());
  const engine = {
    depth: null as SleepDepth | null,
    slept_s: 0,
    turn_until: 0,
    stream_until: 0,
    last_activity_s: 0,
    last_admit_s: null as number | null,
    next_check_s: 0,
  };
  const seen = { sleeps: 0, hibernations: 0, wakes: 0, asks: 0, sleeps_at_work: 0, longest_idle_s: 0 };
  let next_turn_s = between(1, 600);
  let next_scan_s = 0;

  return { run, seen };

  async function run() {
    for (let now = 0; now < DAY_S; now += 1) {
      live(now);
      if (now >= next_scan_s) {
        await scan(now);
        next_scan_s = now + Math.ceil(SCAN_S * (0.9 + 0.2 * random()));
      }
      if (engine.depth === null) {
        const since = Math.max(engine.last_activity_s, engine.last_admit_s ?? 0);
        if (!atWork(now)) seen.longest_idle_s = Math.max(seen.longest_idle_s, now - since);
      }
    }
  }

  function atWork(now: number) {
    return now < engine.turn_until || now < engine.stream_until;
  }

  function live(now: number) {
    if (now === engine.turn_until || now === engine.stream_until) engine.last_activity_s = now;
    if (now < next_turn_s) return;
    if (engine.depth !== null) {
      seen.wakes += 1;
      // As the end of a wake has it: a sleeper's next look may be an hour away.
      engine.next_check_s = now;
    }
    engine.depth = null;
    engine.last_admit_s = now;
    // The client may come a good while after its admit; the window of the admit covers that.
    engine.last_activity_s = now;
    engine.turn_until = now + between(2, 3600);
    engine.stream_until = random() < 0.3 ? now + between(1, 7200) : 0;
    next_turn_s = Math.max(engine.turn_until, now + 1) + between(1, 20_000);
  }

  async function scan(now: number) {
    if (now < engine.next_check_s || (engine.depth !== null && engine.depth !== 'doze')) return;
    engine.next_check_s = now + SCAN_S;
    const look = {
      status: engine.depth === null ? ('running' as const) : ('sleeping' as const),
      sleep_depth: engine.depth,
      sleep_mode: null,
      admit_age_s: engine.last_admit_s === null ? null : now - engine.last_admit_s,
      asleep_s: now - engine.slept_s,
    };
    const ask = async () => {
      seen.asks += 1;
      if (random() < unanswered) return null;
      return activity({
        in_flight_turns: now < engine.turn_until ? 1 : 0,
        open_streams: now < engine.stream_until ? 1 : 0,
        last_activity_at: at(engine.last_activity_s * 1000),
      });
    };
    const next = await judgeLook(look, settings, ask, () => now * 1000);
    if ('again_in_s' in next) {
      engine.next_check_s = now + next.again_in_s;
      return;
    }
    if (atWork(now)) seen.sleeps_at_work += 1;
    if (engine.depth === null) seen.sleeps += 1;
    else seen.hibernations += 1;
    if (engine.depth === null) engine.slept_s = now;
    engine.depth = next.depth;
  }
}

describe('a day of an agent that thinks for minutes', () => {
  it.each([
    ['all questions are answered', 0, 1],
    // What is not answered is asked again a scan later; five in a row come once in a thousand days.
    ['one question in twenty is not', 0.05, 5],
  ])('has no sleep in a turn and no engine idle for longer than it may: %s', async (_, unanswered, scans) => {
    const total = { sleeps: 0, hibernations: 0, wakes: 0 };
    for (let seed = 1; seed <= 40; seed += 1) {
      const { run, seen } = simulateDay(seed, unanswered);
      await run();
      expect([seed, seen.sleeps_at_work]).toEqual([seed, 0]);
      const limit_s = settings.idle_timeout_s + scans * Math.ceil(SCAN_S * 1.1);
      expect(seen.longest_idle_s, `seed ${seed}`).toBeLessThanOrEqual(limit_s);
      // One question in each window, and one for each that was not answered: not one per scan.
      expect(seen.asks, `seed ${seed}`).toBeLessThan(DAY_S / settings.idle_timeout_s + 2 * seen.sleeps + 30);
      total.sleeps += seen.sleeps;
      total.hibernations += seen.hibernations;
      total.wakes += seen.wakes;
    }
    expect(total.sleeps).toBeGreaterThan(100);
    expect(total.hibernations).toBeGreaterThan(50);
    expect(total.wakes).toBeGreaterThan(100);
  });
});
