/** For parts that are tested by themselves, with nothing to hide. */
import { createScrubber } from '../../src/secrets/scrubber.ts';

export const NO_SECRETS = { shown: createScrubber([]), model: createScrubber([]) };
