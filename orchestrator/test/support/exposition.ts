/** Reads Prometheus' text format strictly: whatever its grammar does not allow is an error. */
const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"';
const SAMPLE = new RegExp(
  `^(${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})? ([+-]Inf|NaN|-?\\d+(?:\\.\\d+)?(?:e[+-]?\\d+)?)$`,
);

export type ParsedFamily = {
  type: string;
  samples: { name: string; labels: Record<string, string>; value: number }[];
};

export function parseExposition(text: string): Map<string, ParsedFamily> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, ParsedFamily>();
  const seen = new Set<string>();
  let current: [string, ParsedFamily] | null = null;
  let described = '';
  for (const line of text.slice(0, -1).split('\n')) {
    const help = line.match(new RegExp(`^# HELP (${NAME}) \\S.*$`))?.[1];
    const type = line.match(new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram)$`));
    if (help !== undefined) {
      described = help;
    } else if (type !== null) {
      const [, name = '', kind = ''] = type;
      if (name !== described || families.has(name)) throw new Error(`TYPE out of place: ${line}`);
      current = [name, { type: kind, samples: [] }];
      families.set(...current);
    } else {
      const [, name = '', labels = '', value = ''] = line.match(SAMPLE) ?? [];
      const suffixes = current?.[1].type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
      if (current === null || !suffixes.some((suffix) => name === `${current?.[0]}${suffix}`)) {
        throw new Error(`not a sample of ${current?.[0]}: ${line}`);
      }
      if (seen.has(`${name}{${labels}}`)) throw new Error(`twice: ${line}`);
      seen.add(`${name}{${labels}}`);
      const pairs = [...labels.matchAll(new RegExp(LABEL, 'g'))].map(([pair]) => {
        const [label = '', quoted = ''] = pair.split(/=(.*)/s);
        return [label, quoted.slice(1, -1).replace(/\\([\\"n])/g, (_, c) => (c === 'n' ? '\n' : c))];
      });
      const number = Number(value.replace('Inf', 'Infinity'));
      current[1].samples.push({ name, labels: Object.fromEntries(pairs), value: number });
    }
  }
  return families;
}
