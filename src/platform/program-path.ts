/** Which file a program's name stands for, as execvp(3) finds it. */
import { accessSync, constants, statSync } from 'node:fs';
import { notFound } from '../base/errors.ts';

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** A name with a slash is a path already. Errors: NotFound. */
export function resolveProgram(file: string, env: Readonly<Record<string, string | undefined>>): string {
  if (file.includes('/')) return file;
  for (const folder of (env['PATH'] ?? defaultPath).split(':')) {
    const candidate = `${folder === '' ? '.' : folder}/${file}`;
    if (isExecutable(candidate)) return candidate;
  }
  throw notFound('program', file);
}
