/** The options of `run` that describe the container, from what people type to the runtime spec's words. */
import { statSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import type { Labels, SpecMount, SpecOptions } from '../client/index.ts';
import type { Surroundings } from './app.ts';
import { CliFailure, usage } from './failure.ts';
import { parseAmount, parseSize } from './units.ts';

export interface RunFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly detach?: boolean;
  readonly rm?: boolean;
  readonly name?: string;
  readonly env: readonly string[];
  readonly volume: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly memory?: string;
  readonly cpus?: string;
  readonly net: 'none' | 'host';
  readonly readOnly?: boolean;
  readonly hostname?: string;
  readonly entrypoint?: string;
  readonly label: readonly string[];
  readonly runtime: string;
  readonly logDir: string;
  readonly platform?: string;
  readonly plainHttp?: boolean;
  readonly hostsDir?: string;
  readonly quiet?: boolean;
}

/** Fails with a usage error for what cannot be meant. */
export function specOptionsOf(
  flags: RunFlags,
  { args, id, around }: { args: readonly string[]; id: string; around: Pick<Surroundings, 'env' | 'cwd'> },
): Omit<SpecOptions, 'id' | 'namespace' | 'image' | 'user'> {
  const { workdir, memory, cpus, entrypoint } = flags;
  if (workdir !== undefined && !isAbsolute(workdir))
    throw usage(`--workdir ${JSON.stringify(workdir)} must be an absolute path in the container`);
  return {
    args,
    ...(entrypoint === undefined ? {} : { entrypoint: entrypoint === '' ? [] : [entrypoint] }),
    env: parseEnv(flags.env, around.env),
    mounts: flags.volume.map((text) => parseVolume(text, around.cwd)),
    ...(workdir === undefined ? {} : { cwd: workdir }),
    ...(memory === undefined ? {} : { memoryLimitBytes: parseSize(memory, '--memory') }),
    ...(cpus === undefined ? {} : { cpus: parseAmount(cpus, '--cpus') }),
    hostNetwork: flags.net === 'host',
    readOnlyRoot: flags.readOnly === true,
    terminal: flags.tty === true,
    hostname: flags.hostname ?? (flags.name === undefined ? id.slice(0, 12) : flags.name),
  };
}

/** `NAME=value`, or `NAME` for our own value; one that we do not have is taken out of the image's. */
export function parseEnv(texts: readonly string[], own: Surroundings['env']): string[] {
  return texts.map((text) => {
    const name = text.split('=', 1)[0] as string;
    if (name === '') throw usage(`--env ${JSON.stringify(text)} has no name`, 'write it like NAME=value');
    if (text.includes('=')) return text;
    const value = own[name];
    return value === undefined ? name : `${name}=${value}`;
  });
}

/** `SOURCE:DESTINATION[:ro]`: a bind mount of a path of the host. */
export function parseVolume(text: string, cwd: string): SpecMount {
  const [source = '', destination = '', mode = 'rw', ...more] = text.split(':');
  const form = 'write it like /host/path:/path/in/container, with :ro to make it read-only';
  if (source === '' || destination === '' || more.length > 0)
    throw usage(`--volume ${JSON.stringify(text)} is not SOURCE:DESTINATION`, form);
  if (!isAbsolute(destination))
    throw usage(`--volume ${JSON.stringify(text)}: the destination must be an absolute path`, form);
  if (mode !== 'ro' && mode !== 'rw')
    throw usage(`--volume ${JSON.stringify(text)}: the mode may be ro or rw`, form);
  if (!isAbsolute(source) && !source.startsWith('.'))
    throw usage(
      `--volume ${JSON.stringify(text)}: there are no named volumes`,
      `${form}; begin it with / or ./`,
    );
  const path = resolve(cwd, source);
  if (statSync(path, { throwIfNoEntry: false }) === undefined)
    throw new CliFailure(`--volume ${JSON.stringify(text)}: ${path} does not exist`, {
      hint: 'make it first: nothing is created on the host behind your back',
    });
  return { destination, type: 'bind', source: path, options: ['rbind', 'rprivate', mode] };
}

/** `KEY=value`, or `KEY` for an empty one. */
export function parseLabels(texts: readonly string[]): Labels {
  return Object.fromEntries(
    texts.map((text) => {
      const equals = text.indexOf('=');
      const key = equals === -1 ? text : text.slice(0, equals);
      if (key === '') throw usage(`--label ${JSON.stringify(text)} has no key`, 'write it like KEY=value');
      return [key, equals === -1 ? '' : text.slice(equals + 1)];
    }),
  );
}

/** What does not go together. */
export function checkRunFlags(flags: RunFlags, stdin: { readonly isTTY?: boolean }): void {
  if (flags.detach === true && flags.rm === true)
    throw usage(
      '--rm and --detach do not go together: nobody would be there to remove the container',
      'leave one of them out; gantry rm removes a container that has ended',
    );
  if (flags.detach !== true && flags.tty === true && flags.interactive === true && stdin.isTTY !== true)
    throw usage(
      '--tty with --interactive needs a terminal as input',
      'leave out -t when input comes from a pipe',
    );
}
