/** Figures as Prometheus reads them: its text format, version 0.0.4. */

export const EXPOSITION_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

export type Labels = Record<string, string>;

/** `suffix`: `_bucket`, `_sum` or `_count` of a histogram. */
export type Sample = { labels: Labels; value: number; suffix?: string };

export type Family = {
  name: string;
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
  samples: Sample[];
};

/** A gauge; of one sample without labels where a number is given. */
export const gauge = (name: string, help: string, samples: Sample[] | number): Family => ({
  name,
  type: 'gauge',
  help,
  samples: typeof samples === 'number' ? [{ labels: {}, value: samples }] : samples,
});

/** One family after the other; each has its help and type once, and no two samples with the same labels. */
export function expose(families: readonly Family[]): string {
  return families
    .flatMap(({ name, type, help, samples }) => [
      `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
      `# TYPE ${name} ${type}`,
      ...samples.map(
        ({ labels, value, suffix = '' }) => `${name}${suffix}${braced(labels)} ${number(value)}`,
      ),
    ])
    .map((line) => `${line}\n`)
    .join('');
}

function braced(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

const escaped = (value: string) =>
  value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

const number = (value: number) =>
  value === Number.POSITIVE_INFINITY ? '+Inf' : value === Number.NEGATIVE_INFINITY ? '-Inf' : String(value);
