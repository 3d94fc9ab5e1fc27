/**
 * The tools that the catalog defines, beside those of the platform.
 *
 * A definition puts a name, a description and a narrower schema before a platform tool, or before nothing at all, and
 * may have a person asked. What it must never do is take something away: the platform tool still checks its own input,
 * says what a call would do, and a call counts as the more dangerous of what the file and the tool say it is. Otherwise
 * a line of JSON would be a way round the permissions. Source: engine-runtime, "Definition file".
 */
import type { CatalogTool } from '../catalog/tools.ts';
import type { Effect, Tool, ToolOutcome } from './contract.ts';

const BY_DANGER: Effect[] = ['pure', 'idempotent', 'checkable', 'once'];

/** All tools there are: a definition with the name of a platform tool stands in its place. */
export function withDefined(platform: Tool[], defined: CatalogTool[]): Tool[] {
  const byName = new Map(platform.map((tool) => [tool.definition.name, tool]));
  for (const definition of defined) {
    const { implementation } = definition;
    const base = platform.find((tool) => tool.definition.name === implementation?.ref);
    if (implementation !== undefined && base === undefined) {
      throw new Error(`${definition.name} stands for no tool`);
    }
    byName.set(definition.name, toolOf(definition, base));
  }
  return [...byName.values()];
}

function toolOf(defined: CatalogTool, base: Tool | undefined): Tool {
  const { name, description, input_schema, requires_permission, high_cost, effect } = defined;
  return {
    ...base,
    definition: { name, description, input_schema },
    requires_permission: requires_permission || base?.requires_permission === true,
    high_cost: high_cost || base?.high_cost === true,
    effect: (input) => moreDangerous(effect, base?.effect(input) ?? 'pure'),
    async run(input, context): Promise<ToolOutcome> {
      const issues = defined.issuesOf(input);
      if (issues.length > 0) {
        const told = issues.map(
          ({ path, message }) => `${path.slice(1).replaceAll('/', '.') || 'input'}: ${message}`,
        );
        return { error: 'invalid_input', output: told.join('; ') };
      }
      return base === undefined ? { output: input } : base.run(input, context);
    },
  };
}

function moreDangerous(one: Effect, other: Effect): Effect {
  return BY_DANGER.indexOf(one) > BY_DANGER.indexOf(other) ? one : other;
}
