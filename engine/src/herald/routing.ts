import { findModel, type ModelTable } from '../catalog/models.ts';
import type { ProviderName } from '../types.ts';
import type { ModelInfo, Route } from './contract.ts';

/**
 * Which provider answers for a model id, and what is known of the model.
 *
 * Agents name models freely (E18), and the key of one provider opens no other. The rule: the model table says
 * whose a model is; one without a key is not called at all, the main model stands in and the log says so. A
 * compatible server (`LLM_BASE_URL`) serves whatever it is asked for, and `demo` is one model only. Source:
 * engine-runtime, "Model layer: herald".
 */
export type Routing = {
  resolve(model: string | undefined): Route;
  info(model: string): ModelInfo;
};

export function createRouting(options: {
  provider: ProviderName;
  model: string;
  /** One server for all models. */
  single: boolean;
  models: ModelTable;
  /** What a provider's wire does not carry, whatever the model takes. */
  refuses(provider: ProviderName): (keyof ModelInfo['takes'])[];
  hasKey(provider: ProviderName): boolean;
  /** Told once for each model. */
  onMissingKey(missing: Route & { instead: string }): void;
}): Routing {
  const { provider, model, models } = options;
  const told = new Set<string>();

  const ownerOf = (id: string) => (options.single ? provider : (findModel(models, id).provider ?? provider));

  const resolve = (wanted: string = model): Route => {
    if (provider === 'demo') return { provider, model };
    const owner = ownerOf(wanted);
    if (owner === provider || options.hasKey(owner)) return { provider: owner, model: wanted };
    if (wanted !== model && !told.has(wanted))
      options.onMissingKey({ provider: owner, model: wanted, instead: model });
    told.add(wanted);
    const mainOwner = ownerOf(model);
    return { provider: options.hasKey(mainOwner) ? mainOwner : provider, model };
  };

  return {
    resolve,
    info(wanted) {
      const route = resolve(wanted);
      const { models: _, ...known } = findModel(models, route.model);
      const takes = { ...known.takes };
      for (const kind of options.refuses(route.provider)) takes[kind] = 'no';
      return { ...known, ...route, takes };
    },
  };
}
