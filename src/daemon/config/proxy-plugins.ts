/**
 * `[proxy_plugins.NAME]`: plugins that other programs serve, each on a unix socket.
 *
 * Differs from containerd, which takes an address or a platform that cannot be one and fails in the first call, and
 * panics on an unknown type.
 */
import path from 'node:path';
import type { TomlConfigTable } from '../../core/plugins/config-table.ts';
import type { PluginType } from '../../core/plugins/plugin.ts';
import { hostPlatform, type Platform, parsePlatform } from '../../oci/platform.ts';

const kinds = {
  snapshot: 'io.containerd.snapshotter.v1',
  content: 'io.containerd.content.v1',
  diff: 'io.containerd.differ.v1',
  sandbox: 'io.containerd.sandbox.controller.v1',
} as const satisfies Record<string, PluginType>;

export type ProxyKind = keyof typeof kinds;

export interface ProxyPluginConfig {
  readonly kind: ProxyKind;
  readonly type: PluginType;
  /** The NAME: what clients ask for. */
  readonly id: string;
  /** Path of a unix socket. */
  readonly address: string;
  readonly platform: Platform;
  readonly exports: Readonly<Record<string, string>>;
  readonly capabilities: readonly string[];
}

/** Of the table `proxy_plugins`. Errors: InvalidArgument with file, key and reason. */
export const readProxyPlugins = (plugins: TomlConfigTable): ProxyPluginConfig[] =>
  plugins.keys().map((id) => {
    const table = plugins.table(id);
    const exported = table.table('exports');
    const kind = readKind(table);
    const given = table.string('address', '');
    const address = given.replace(/^unix:\/\//, '');
    if (!path.isAbsolute(address))
      throw table.wrong(
        'address',
        `must be the absolute path of a unix socket, not ${JSON.stringify(given)}`,
      );
    return {
      kind,
      type: kinds[kind],
      id,
      address,
      platform: readPlatform(table),
      exports: {
        ...Object.fromEntries(exported.keys().map((key) => [key, exported.string(key, '')])),
        address: given,
      },
      capabilities: table.strings('capabilities', []),
    };
  });

/** The short word, or the plugin type in full. */
function readKind(table: TomlConfigTable): ProxyKind {
  const given = table.string('type', '');
  for (const [kind, type] of Object.entries(kinds))
    if (given === kind || given === type) return kind as ProxyKind;
  throw table.wrong('type', `must be one of ${Object.keys(kinds).join(', ')}, not ${JSON.stringify(given)}`);
}

function readPlatform(table: TomlConfigTable): Platform {
  const given = table.string('platform', '');
  if (given === '') return hostPlatform();
  try {
    return parsePlatform(given);
  } catch (error) {
    throw table.wrong('platform', error instanceof Error ? error.message : String(error));
  }
}
