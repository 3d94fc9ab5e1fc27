/** What the model is told of the platform tools (rules for authors; docs/engine/defining_tools.md). */
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { brainOf } from '../support/brain.ts';
import { allPlatformTools, PLATFORM_TOOLS } from '../support/platform.ts';
import { makeRoots } from '../support/rooted.ts';

const { roots } = makeRoots();

describe.each(PLATFORM_TOOLS)('%s', (name) => {
  async function definition() {
    const found = allPlatformTools(roots, await brainOf()).find((tool) => tool.definition.name === name);
    if (found === undefined) throw new Error('not found');
    return found.definition;
  }

  it('describes itself and every property', async () => {
    const { description, input_schema } = await definition();
    expect(name).toMatch(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/);
    expect(description.length).toBeGreaterThan(40);
    expect(input_schema).toMatchObject({ type: 'object' });
    for (const [property, schema] of Object.entries(input_schema.properties ?? {})) {
      expect(schema, property).toMatchObject({ description: expect.stringMatching(/\w/) });
    }
  });

  it('gives an example that fits its schema', async () => {
    const { description, input_schema } = await definition();
    const [, example = ''] = / Example: (\{.*\})$/.exec(description) ?? [];
    const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(input_schema);
    expect([validate(JSON.parse(example)), validate.errors]).toEqual([true, null]);
  });
});
