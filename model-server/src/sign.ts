import { createHash } from 'node:crypto';

/**
 * Providers hand out opaque proofs with reasoning (Anthropic `signature`, OpenAI `encrypted_content`, Gemini
 * `thoughtSignature`) and refuse them when they come back changed. A hash of the subject gives the same rule
 * without keeping state.
 */
export function sign(subject: string): string {
  return createHash('sha256').update(`scripted model:${subject}`).digest('base64');
}
