/** NRI, the plugins of the node's resources. The id, its settings and their defaults are containerd's. */
import path from 'node:path';
import { unavailable } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { version } from '../../base/version.ts';
import type { DefaultValidatorOptions } from '../../core/nri/default-validator.ts';
import { NriGate } from '../../core/nri/nri-gate.ts';
import type { NriDomain } from '../../core/nri/nri-runtime.ts';
import type { ConfigTable, Plugin } from '../../core/plugins/plugin.ts';
import { definePlugin } from './define-plugin.ts';
import type { BuiltinDependencies } from './dependencies.ts';
import { nodeResources } from './tokens.ts';

/** Until the CRI tells of its pods and containers there are none to change. */
const nobody: NriDomain = {
  state: async () => ({ pods: [], containers: [] }),
  update: async (updates) => updates,
  evict: async () => {
    throw unavailable('there are no containers that an NRI plugin could evict');
  },
};

export const nri = ({ platform, leaveAsFound }: BuiltinDependencies): Plugin[] => [
  definePlugin({
    ...nodeResources,
    requires: [],
    config: (table) => ({
      disable: table.boolean('disable', false),
      disableConnections: table.boolean('disable_connections', false),
      socketPath: absolute(table, 'socket_path', '/var/run/nri/nri.sock'),
      pluginPath: absolute(table, 'plugin_path', '/opt/nri/plugins'),
      pluginConfigPath: absolute(table, 'plugin_config_path', '/etc/nri/conf.d'),
      registrationTimeoutMs: timeoutMs(table, 'plugin_registration_timeout', limits.nriRegistrationMs),
      requestTimeoutMs: timeoutMs(table, 'plugin_request_timeout', limits.nriRequestMs),
      validator: validatorOptions(table.table('default_validator')),
    }),
    init: async ({ ctx, config, onStop }) => {
      const { disable, ...options } = config;
      if (disable || leaveAsFound === true) return undefined;
      const gate = new NriGate(
        { platform, log: ctx.log },
        { ...options, runtimeName: 'containerd', runtimeVersion: version },
      );
      onStop(gate);
      await gate.start(nobody);
      return gate;
    },
  }),
];

function absolute(table: ConfigTable, key: string, fallback: string): string {
  const value = table.string(key, fallback);
  if (!path.isAbsolute(value)) throw table.wrong(key, `must be absolute, not ${JSON.stringify(value)}`);
  return value;
}

function timeoutMs(table: ConfigTable, key: string, fallbackMs: number): number {
  const valueMs = table.durationMs(key, fallbackMs);
  if (valueMs < 1) throw table.wrong(key, 'must be longer than nothing, as in "2s"');
  return valueMs;
}

const validatorOptions = (table: ConfigTable): DefaultValidatorOptions => ({
  enable: table.boolean('enable', false),
  rejectOciHookAdjustment: table.boolean('reject_oci_hook_adjustment', false),
  rejectRuntimeDefaultSeccompAdjustment: table.boolean('reject_runtime_default_seccomp_adjustment', false),
  rejectUnconfinedSeccompAdjustment: table.boolean('reject_unconfined_seccomp_adjustment', false),
  rejectCustomSeccompAdjustment: table.boolean('reject_custom_seccomp_adjustment', false),
  rejectNamespaceAdjustment: table.boolean('reject_namespace_adjustment', false),
  rejectSysctlAdjustment: table.boolean('reject_sysctl_adjustment', false),
  requiredPlugins: table.strings('required_plugins', []),
  tolerateMissingAnnotation: table.string('tolerate_missing_plugins_annotation', ''),
});
