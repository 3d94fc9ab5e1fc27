/**
 * Text from outside, made safe to keep and to send on: lone surrogates, which no provider's JSON parser has
 * to take, become U+FFFD; NUL, which ends strings in SQLite and elsewhere, and the other control characters
 * but tab and line breaks are dropped. Everything a person can type stays. Source: engine-api, "Conventions".
 */
export function safeText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
  return text.toWellFormed().replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g, '');
}
