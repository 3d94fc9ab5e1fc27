import type { StreamEvent } from '../types.ts';
import { HeraldError, type ModelRequest } from './contract.ts';
import { fingerprint, isMedia, type TakesMedia } from './media.ts';

/**
 * A picture the provider cannot read must not end the turn, nor every turn after it (`MEDIA_ERROR_RECOVERY_ENABLED`).
 *
 * No provider has a code for it; it is a bad request like any other. So it is found out by trying: the newest
 * message with media is sent again without them, and when that gets through, they were the cause. They stay
 * left out from then on, or each call of the conversation would begin with the same refusal. After a restart it
 * is found out once more. Source: engine-runtime, "Model layer: herald".
 */
export type MediaRecovery = {
  isRefused: TakesMedia['isRefused'];
  /** `ask` is told which blocks to leave out on top of those known. */
  recover(
    request: ModelRequest,
    ask: (isRefused: TakesMedia['isRefused']) => AsyncIterable<StreamEvent>,
  ): AsyncIterable<StreamEvent>;
};

/** Blocks remembered as refused; the oldest is forgotten, and found out again if it still matters. */
const MAX_REMEMBERED = 1000;

const BAD_REQUEST = 400;

export function createMediaRecovery(options: {
  enabled: boolean;
  onRefused(blocks: number): void;
}): MediaRecovery {
  const refused = new Set<string>();
  const isRefused: TakesMedia['isRefused'] = (block) => refused.size > 0 && refused.has(fingerprint(block));

  function remember(keys: Iterable<string>): void {
    for (const key of keys) {
      refused.add(key);
      const [oldest] = refused;
      if (refused.size > MAX_REMEMBERED && oldest !== undefined) refused.delete(oldest);
    }
  }

  /** The media the refusal is put down to. */
  function suspects({ messages }: ModelRequest): Set<string> {
    for (const { content } of messages.toReversed()) {
      const media = content.filter(isMedia).filter((block) => !isRefused(block));
      if (media.length > 0) return new Set(media.map(fingerprint));
    }
    return new Set();
  }

  return {
    isRefused,
    async *recover(request, ask) {
      let failure: HeraldError;
      try {
        yield* ask(isRefused);
        return;
      } catch (error) {
        if (!options.enabled || !(error instanceof HeraldError) || !isBadRequest(error)) throw error;
        failure = error;
      }
      const out = suspects(request);
      if (out.size === 0) throw failure;
      let answered = false;
      try {
        for await (const event of ask((block) => isRefused(block) || out.has(fingerprint(block)))) {
          if (!answered) {
            answered = true;
            remember(out);
            options.onRefused(out.size);
          }
          yield event;
        }
      } catch (error) {
        // It was not the media: what is wrong is what was said first.
        throw error instanceof HeraldError && !error.visible ? failure : error;
      }
    },
  };
}

const isBadRequest = ({ visible, code, details }: HeraldError) =>
  !visible && code === 'LLM_PROVIDER_ERROR' && details.status === BAD_REQUEST;
