/**
 * Secrets from files: each of `ENGINE_SECRETS` may be given as `{NAME}_FILE`.
 *
 * Whoever may look at a container sees its environment, and whatever a process starts inherits it; a file is seen by
 * who can open it. Commands of the model must not be: a file that lies in a folder they see would be no secret, so that
 * is a mistake of the configuration like any other. Source: operations, "Secrets".
 */
import { readFileSync, realpathSync } from 'node:fs';
import { resolve, sep } from 'node:path';
import { ENGINE_SECRETS } from '@september/contract';
import { systemCode } from './errors.ts';

type Given = Record<string, string>;

/** Longer is no secret, characters. */
const MAX_SECRET = 16_384;

export const fileVariable = (name: string) => `${name}_FILE`;

/** `given` with what the files hold in the place of the variables that name them; what is wrong is told and left out. */
export function readSecretFiles(given: Given, cwd: string): { given: Given; problems: string[] } {
  const result = { ...given };
  const problems: string[] = [];
  for (const name of ENGINE_SECRETS) {
    const variable = fileVariable(name);
    const file = given[variable];
    if (file === undefined) continue;
    delete result[variable];
    if (given[name] !== undefined) {
      problems.push(`${variable} and ${name} are both set: unset one of them`);
      continue;
    }
    const read = readSecret(resolve(cwd, file));
    if ('problem' in read) problems.push(`${variable} names ${file}, which ${read.problem}`);
    else result[name] = read.value;
  }
  return { given: result, problems };
}

/** Of the files that `given` names, those that lie in one of `roots`. */
export function exposedFiles(given: Given, cwd: string, roots: string[]): string[] {
  const folders = roots.map((root) => realPath(root));
  return ENGINE_SECRETS.flatMap((name) => {
    const file = given[fileVariable(name)];
    if (file === undefined) return [];
    const path = realPath(resolve(cwd, file));
    const is_seen = folders.some((folder) => path.startsWith(folder.endsWith(sep) ? folder : folder + sep));
    return is_seen
      ? [`${fileVariable(name)} names ${file}, which lies in ALLOWED_ROOTS, where commands could read it`]
      : [];
  });
}

function readSecret(file: string): { value: string } | { problem: string } {
  try {
    const value = readFileSync(file, 'utf8').replace(/(\r?\n)+$/, '');
    if (value === '') return { problem: 'is empty' };
    return value.length > MAX_SECRET ? { problem: `has more than ${MAX_SECRET} characters` } : { value };
  } catch (error) {
    return { problem: `cannot be read (${systemCode(error)})` };
  }
}

/** Of what is not there yet, the path itself. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
