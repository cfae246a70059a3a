/**
 * Small files of a root file system that nothing runs in yet, for users and groups: mounted for a moment, when they are
 * asked for. What is in there is the image's: links that lead out are refused, and only regular files of bounded size
 * are read.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { hasCode, invalidArgument } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { resolveBelow, withTempMount } from '../../platform/temp-mount.ts';
import type { RootFile } from '../spec/spec-facts.ts';

const wanted = ['/etc/passwd', '/etc/group'] as const;

export interface RootFileOptions {
  readonly mounts: readonly Mount[];
  /** Where it is mounted meanwhile. */
  readonly tempRoot: string;
}

/** Reads all that will be asked for at the first question. */
export function rootFileOf(
  { platform }: { readonly platform: Platform },
  { mounts, tempRoot }: RootFileOptions,
): RootFile {
  let texts: Promise<ReadonlyMap<string, string>> | undefined;
  const readAll = (): Promise<ReadonlyMap<string, string>> =>
    withTempMount(platform, mounts, tempRoot, async (root) => {
      const read = new Map<string, string>();
      for (const path of wanted) read.set(path, await readText(root, path));
      return read;
    });
  return async (path) => {
    texts ??= readAll();
    return (await texts).get(path) ?? '';
  };
}

async function readText(root: string, path: string): Promise<string> {
  try {
    const resolved = resolveBelow(root, path);
    await using file = await open(resolved, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const status = await file.stat();
    if (!status.isFile() || status.size > limits.userFileBytes)
      throw invalidArgument(`${path} of the image is no file of at most ${limits.userFileBytes} bytes`);
    return await file.readFile('utf8');
  } catch (error) {
    if (hasCode(error, 'NotFound')) return '';
    throw error;
  }
}
