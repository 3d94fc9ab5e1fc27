/**
 * Loaded before an Engine (`node --import`): the time a silent provider is given, 240 s, passes in a tenth of a
 * second, so that a test can see what becomes of a turn whose model never answers. All other time is as it is.
 */
import { DEFAULT_PATIENCE } from '../../src/herald/watch.ts';

const PASSES_IN_MS = 100;

const { setTimeout: wait } = globalThis;
const shortened = (run: (...args: unknown[]) => void, ms?: number, ...args: unknown[]) =>
  wait(run, ms === DEFAULT_PATIENCE.first_byte_ms ? PASSES_IN_MS : ms, ...args);
globalThis.setTimeout = Object.assign(shortened, wait);
