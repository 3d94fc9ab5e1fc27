import { expect, it } from 'vitest';
import { createCacheMonitor } from '../src/turn/cache_monitor.ts';

const notes = (count: number, cache_hit_tokens: number, monitor = createCacheMonitor()) =>
  Array.from({ length: count }, () => monitor.note({ input_tokens: 1000, cache_hit_tokens }));

it('tells a share below the threshold once per fifty calls', () => {
  const told = notes(120, 400);
  expect(told.flatMap((alert, index) => (alert === undefined ? [] : [index]))).toEqual([49, 99]);
  expect(told[49]).toEqual({ ratio: 0.4, threshold: 0.6 });
  expect(notes(49, 0).every((alert) => alert === undefined)).toBe(true);
});

it('is silent at the threshold, and looks at the last fifty only', () => {
  expect(notes(200, 600).every((alert) => alert === undefined)).toBe(true);
  const monitor = createCacheMonitor();
  expect(notes(100, 1000, monitor).every((alert) => alert === undefined)).toBe(true);
  const told = notes(50, 0, monitor);
  // 29 of 50 found: 0.58 with the 21st that was not.
  expect(told.findIndex((alert) => alert !== undefined)).toBe(20);
});
