/**
 * Files of a container's root file system, read by mounting it for a moment, read-only. What is in there is the
 * image's: links that lead out of it are refused, and only regular files of bounded size are read.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { hasCode, invalidArgument } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { RootFileReader } from '../client/index.ts';
import type { Mount } from '../platform/mount.ts';
import type { Platform } from '../platform/platform.ts';
import { resolveBelow, withTempMount } from '../platform/temp-mount.ts';

export interface RootFileDependencies {
  readonly platform: () => Promise<Platform>;
  /** Made when absent, mode 0700. */
  readonly directory: string;
}

export const rootFileReader =
  ({ platform, directory }: RootFileDependencies): RootFileReader =>
  async (mounts, paths) =>
    await withTempMount(await platform(), mounts.map(readOnly), directory, async (root) => {
      const texts: string[] = [];
      for (const path of paths) texts.push(await readText(root, path));
      return texts;
    });

/** The same tree, not to be written: an overlay whose upper layer, which a container may be using, is a lower one. */
export function readOnly(mount: Mount): Mount {
  if (mount.type !== 'overlay')
    return {
      ...mount,
      options: [...mount.options.filter((option) => option !== 'rw' && option !== 'ro'), 'ro'],
    };
  const upper = mount.options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
  const rest = mount.options.filter((option) => !/^(?:upperdir|workdir)=/.test(option));
  if (upper === undefined) return { ...mount, options: rest };
  const options = rest.map((option) =>
    option.startsWith('lowerdir=') ? `lowerdir=${upper}:${option.slice('lowerdir='.length)}` : option,
  );
  return { ...mount, options };
}

async function readText(root: string, path: string): Promise<string> {
  try {
    const resolved = resolveBelow(root, path);
    await using file = await open(resolved, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const status = await file.stat();
    if (!status.isFile() || status.size > limits.userFileBytes)
      throw invalidArgument(
        `${path} of the image is no file of at most ${limits.userFileBytes} bytes; give a numeric user`,
      );
    return await file.readFile('utf8');
  } catch (error) {
    if (hasCode(error, 'NotFound')) return '';
    throw error;
  }
}
