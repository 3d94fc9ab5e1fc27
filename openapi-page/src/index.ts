/** What this page needs of an OpenAPI 3.1 document; anything more is ignored. */
export type OpenApiDocument = {
  info: { title: string; version: string; description?: string };
  paths?: object;
};

export function renderOpenApi(document: OpenApiDocument): string {
  return `<!doctype html><title>${document.info.title}</title>`;
}
