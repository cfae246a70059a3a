/**
 * What runs in a container and where: command, environment, directory, from the kubelet's words over the image's. Where
 * neither names a PATH, the usual one is set, as without it no command is found.
 */
import { invalidArgument } from '../../base/errors.ts';
import { mergeEnv } from '../../oci/default-spec.ts';
import type { ImageRunConfig } from '../../oci/image-config.ts';
import type { KeyValue } from '../../wire/gen/runtime/v1/common_pb.js';
import type { ContainerConfig } from '../../wire/gen/runtime/v1/container_pb.js';

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** `command` takes the place of the entrypoint, and of the image's arguments with it. Errors: InvalidArgument. */
export function containerArgs(
  { command, args }: Pick<ContainerConfig, 'command' | 'args'>,
  image: Pick<ImageRunConfig, 'entrypoint' | 'cmd'>,
): readonly string[] {
  const head = command.length > 0 ? command : image.entrypoint;
  const tail = args.length > 0 || command.length > 0 ? args : image.cmd;
  const all = [...head, ...tail];
  if (all.length === 0 || (all.length === 1 && all[0] === ''))
    throw invalidArgument('no command specified: neither the container nor its image says what to run');
  if (all.some((word) => word.includes('\0'))) throw invalidArgument('a word of the command contains NUL');
  return all;
}

export interface EnvWords {
  readonly envs: readonly Pick<KeyValue, 'key' | 'value'>[];
  readonly tty: boolean;
}

/** HOSTNAME, then the image's, then the container's: later ones replace. Errors: InvalidArgument. */
export function containerEnv(
  { envs, tty }: EnvWords,
  image: Pick<ImageRunConfig, 'env'>,
  hostname: string,
): readonly string[] {
  const own = envs.map(({ key, value }) => `${envName(key)}=${envValue(key, value)}`);
  const base = [defaultPath, ...(tty ? ['TERM=xterm'] : []), `HOSTNAME=${hostname}`];
  return mergeEnv(base, [...image.env.filter((entry) => entry.includes('=')), ...own]);
}

function envName(key: string): string {
  if (key === '' || key.includes('=') || key.includes('\0'))
    throw invalidArgument(
      `environment variable ${JSON.stringify(key)}: names are not empty, without "=" and NUL`,
    );
  return key;
}

function envValue(key: string, value: Uint8Array): string {
  const text = Buffer.from(value).toString('utf8');
  if (text.includes('\0')) throw invalidArgument(`environment variable ${key} contains NUL`);
  return text;
}

/** Errors: InvalidArgument when it is not absolute. */
export function workingDirectory(wished: string, image: Pick<ImageRunConfig, 'workingDir'>): string {
  const cwd = wished || image.workingDir || '/';
  if (!cwd.startsWith('/') || cwd.includes('\0'))
    throw invalidArgument(`working directory ${JSON.stringify(cwd)} must be an absolute path`);
  return cwd;
}
