import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { EngineExit } from '@september/contract';
import type { z } from 'zod';
import { StartError, systemCode } from '../errors.ts';

/**
 * Reading the catalog's files. An Engine that starts on half a catalog fails at the first message of a user, so
 * whatever is wrong with a file refuses the start (`StartError`, `BAD_CONFIG`), naming the file and its fault.
 */

/** Names of the folders in `dir`. */
export function listFolders(dir: string): string[] {
  try {
    const entries = readdirSync(dir, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    throw broken(dir, `cannot be read (${systemCode(error)})`, error);
  }
}

/** Names, without `.json`, of the files in `dir`, which need not be there. */
export function listJson(dir: string): string[] {
  if (!existsSync(dir)) return [];
  try {
    const names = readdirSync(dir).filter((name) => name.endsWith('.json'));
    return names.map((name) => name.slice(0, -'.json'.length)).sort();
  } catch (error) {
    throw broken(dir, `cannot be read (${systemCode(error)})`, error);
  }
}

export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw broken(file, `cannot be read (${systemCode(error)})`, error);
  }
}

export function readJson<T>(file: string, schema: z.ZodType<T>): T {
  let json: unknown;
  try {
    json = JSON.parse(readText(file));
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw broken(file, 'is not valid JSON', error);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw broken(
    file,
    parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '),
  );
}

export function broken(file: string, problem: string, cause?: unknown): StartError {
  return new StartError(EngineExit.BAD_CONFIG, `CATALOG_DIR: ${file}: ${problem}.`, { cause });
}
