/** `gantry info`: the daemon at a glance. */
import { dirname } from 'node:path';
import { Command } from 'commander';
import type { PluginInfo } from '../../client/index.ts';
import { type App, globalsOf, outputOption } from '../app.ts';
import { formatJson } from '../table.ts';

export const infoCommand = (app: App): Command =>
  new Command('info')
    .summary('show the daemon at a glance')
    .description(
      'Shows which daemon answers, what it can do, which of its parts failed, and how much it holds.',
    )
    .addOption(outputOption())
    .addHelpText('after', '\nExample:\n  gantry info -o json')
    .action(async (_flags: unknown, command: Command) => {
      const globals = globalsOf(command);
      await using gantry = await app.connect(globals);
      const { introspection } = gantry;
      const [version, server, plugins, namespaces, containers, tasks, images] = await Promise.all([
        introspection.version(),
        introspection.server(),
        introspection.plugins(),
        gantry.namespaces.list(),
        gantry.containers.list(),
        gantry.tasks.list(),
        gantry.images.list(),
      ]);
      const works = plugins.filter(({ error }) => error === undefined || error === '');
      const skipped = (error: string): boolean =>
        error.startsWith('skip plugin') || error.includes('skip plugin');
      const failed = plugins.filter(({ error = '' }) => error !== '' && !skipped(error));
      const info = {
        address: globals.address,
        version: version.version,
        uuid: server.uuid,
        pid: server.pid,
        root: rootOf(plugins),
        namespace: globals.namespace,
        namespaces: namespaces.map(({ name }) => name),
        containers: containers.length,
        running: tasks.filter(({ status }) => status === 'running').length,
        images: images.length,
        snapshotters: works.filter(({ type }) => type === 'io.containerd.snapshotter.v1').map(({ id }) => id),
        failedPlugins: failed.map(({ type, id, error }) => ({ type, id, error })),
        deprecations: server.deprecations,
      };
      app.print(globals.output === 'json' ? formatJson(info) : textOf(info));
    });

/** Where the daemon keeps what it keeps: the content store's directory lies right below. */
function rootOf(plugins: readonly PluginInfo[]): string | null {
  const content = plugins.find(({ type, id }) => type === 'io.containerd.content.v1' && id === 'content');
  const root = content?.exports['root'];
  return root === undefined ? null : dirname(root);
}

interface Info {
  readonly address: string;
  readonly version: string;
  readonly uuid: string;
  readonly pid: number;
  readonly root: string | null;
  readonly namespace: string;
  readonly namespaces: readonly string[];
  readonly containers: number;
  readonly running: number;
  readonly images: number;
  readonly snapshotters: readonly string[];
  readonly failedPlugins: readonly {
    readonly type: string;
    readonly id: string;
    readonly error?: string | undefined;
  }[];
  readonly deprecations: readonly { readonly id: string; readonly message: string }[];
}

const textOf = (info: Info): string =>
  [
    `Daemon:        ${info.version} at ${info.address} (pid ${info.pid}, ${info.uuid})`,
    `Root:          ${info.root ?? 'unknown'}`,
    `Namespace:     ${info.namespace} (of ${info.namespaces.join(', ') || 'none yet'})`,
    `Containers:    ${info.containers}, ${info.running} running`,
    `Images:        ${info.images}`,
    `Snapshotters:  ${info.snapshotters.join(', ')}`,
    ...info.failedPlugins.map(({ type, id, error }) => `Failed:        ${type}.${id}: ${error}`),
    ...info.deprecations.map(({ id, message }) => `Deprecated:    ${id}: ${message}`),
    '',
  ].join('\n');
