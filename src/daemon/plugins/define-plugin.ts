/** Lets TypeScript infer a plugin's instance and settings, and forgets them again for the list. */
import type { Plugin } from '../../core/plugins/plugin.ts';

export const definePlugin = <Instance, Config>(plugin: Plugin<Instance, Config>): Plugin =>
  plugin as unknown as Plugin;
