/** Plugins that other programs serve (`[proxy_plugins.NAME]`). None of them is connected to before its first call. */
import { unimplemented } from '../../base/errors.ts';
import { ProxyContentStore } from '../../core/content/proxy-content-store.ts';
import { RemoteBlobs } from '../../core/content/remote-blobs.ts';
import { ProxyDiffer } from '../../core/diff/proxy-differ.ts';
import { noConfig } from '../../core/plugins/config-table.ts';
import { pluginId } from '../../core/plugins/graph.ts';
import type { Plugin } from '../../core/plugins/plugin.ts';
import { RemotePlugin } from '../../core/plugins/remote-plugin.ts';
import { ProxySnapshotter } from '../../core/snapshots/proxy-snapshotter.ts';
import type { ProxyKind, ProxyPluginConfig } from '../config/proxy-plugins.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';

type Make = (remote: RemotePlugin, config: ProxyPluginConfig) => unknown;

const makers: Readonly<Record<ProxyKind, Make>> = {
  snapshot: (remote, { id, capabilities }) => new ProxySnapshotter({ remote }, { name: id, capabilities }),
  diff: (remote) => new ProxyDiffer({ remote }),
  content: (remote, { id }) => new RemoteBlobs({ content: new ProxyContentStore({ remote }) }, { name: id }),
  sandbox: () => {
    throw unimplemented(
      'sandbox controllers are not supported yet: nothing can use the one that is configured',
    );
  },
};

export const proxies = ({ configuration }: BuiltinDependencies): Plugin[] =>
  configuration.daemon.proxyPlugins.map((config) =>
    definePlugin({
      type: config.type,
      id: config.id,
      requires: [],
      config: noConfig,
      init: ({ meta, onStop }) => {
        meta.platforms.push(config.platform);
        meta.capabilities.push(...config.capabilities);
        Object.assign(meta.exports, config.exports);
        const remote = new RemotePlugin({ plugin: pluginId(config), address: config.address });
        onStop(remote);
        return makers[config.kind](remote, config);
      },
    }),
  );
