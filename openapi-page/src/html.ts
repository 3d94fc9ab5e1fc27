/** A piece of HTML that is already safe; everything else that is put into a template gets escaped. */
export type Html = { text: string };

type Value = string | Html | Value[];

/** Template tag: ``html`<b>${name}</b>` `` escapes `name`; nested templates and lists of them go in as they are. */
export function html(parts: TemplateStringsArray, ...values: Value[]): Html {
  const text = parts.reduce((sum, part, i) => `${sum}${render(values[i - 1] ?? '')}${part}`);
  return { text };
}

/** Marks text of our own as HTML. Never for anything that came from outside. */
export const raw = (text: string): Html => ({ text });

function render(value: Value): string {
  if (Array.isArray(value)) return value.map(render).join('');
  return typeof value === 'string' ? escapeText(value) : value.text;
}

const ESCAPES: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

const escapeText = (text: string) =>
  text.replaceAll(/[&<>"']/g, (character) => ESCAPES[character] ?? character);

/** Words of a document: what stands between backticks is code. */
export function prose(text: string): Html {
  const parts = text.split(/`([^`]*)`/);
  return html`${parts.map((part, i) => (i % 2 === 1 ? html`<code>${part}</code>` : part))}`;
}
