/** Which deprecated settings a configuration has, also those of plugins that this build does not have. */
import { isTable, type TomlRecord, type TomlValue } from '../../core/plugins/config-table.ts';
import type { DeprecationId } from '../deprecations.ts';
import type { Configuration } from './daemon-config.ts';

/** A path of table names within `plugins`, in version 4. Any value there counts, but for an empty table. */
const places: readonly (readonly [DeprecationId, readonly string[]])[] = [
  ['io.containerd.deprecation/cri-registry-mirrors', ['io.containerd.cri.v1.images', 'registry', 'mirrors']],
  ['io.containerd.deprecation/cri-registry-auths', ['io.containerd.cri.v1.images', 'registry', 'auths']],
  ['io.containerd.deprecation/cri-registry-configs', ['io.containerd.cri.v1.images', 'registry', 'configs']],
  ['io.containerd.deprecation/cri-cni-bin-dir', ['io.containerd.cri.v1.runtime', 'cni', 'bin_dir']],
  ['io.containerd.deprecation/enable-cdi', ['io.containerd.cri.v1.runtime', 'enable_cdi']],
  ['io.containerd.deprecation/tracing-processor-config', ['io.containerd.tracing.processor.v1.otlp']],
  ['io.containerd.deprecation/tracing-service-config', ['io.containerd.internal.v1.tracing']],
];

export function findDeprecatedSettings(
  configuration: Pick<Configuration, 'document' | 'oldestVersion'>,
): DeprecationId[] {
  const plugins = configuration.document['plugins'];
  const found = places.filter(([, path]) => isSet(at(plugins, path))).map(([id]) => id);
  return configuration.oldestVersion < 2 ? [...found, 'io.gantry.deprecation/config-version-1'] : found;
}

function at(from: TomlValue | undefined, path: readonly string[]): TomlValue | undefined {
  let value = from;
  for (const key of path) value = isTable(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}

const isSet = (value: TomlValue | undefined): boolean =>
  isTable(value) ? Object.keys(value satisfies TomlRecord).length > 0 : value !== undefined && value !== '';
