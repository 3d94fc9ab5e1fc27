import type { StreamEvent } from '../types.ts';
import { HeraldError, type Route } from './contract.ts';

/**
 * The second model: asked once, when the first has failed for good and nothing of it was seen (engine-runtime,
 * section 7). From the first event on there is no way back here, for the reason given in retry.ts. When the
 * second fails too, the error is the first one's: it is about the model that was asked for, and its
 * `retry_after` is when asking for it again makes sense.
 */
export async function* withFallback(
  first: Route,
  second: Route | undefined,
  ask: (route: Route, position: 'first' | 'second') => AsyncIterable<StreamEvent>,
  onSwitch: (error: HeraldError, second: Route) => void,
): AsyncGenerator<StreamEvent> {
  let failure: HeraldError;
  try {
    yield* ask(first, 'first');
    return;
  } catch (error) {
    // What is too long for one model is not sent to another: compaction is for that.
    if (!(error instanceof HeraldError) || error.visible || error.code === 'CONTEXT_OVERFLOW') throw error;
    failure = error;
  }
  if (second === undefined || (second.provider === first.provider && second.model === first.model))
    throw failure;
  onSwitch(failure, second);
  try {
    yield* ask(second, 'second');
  } catch (error) {
    throw error instanceof HeraldError && !error.visible ? failure : error;
  }
}
