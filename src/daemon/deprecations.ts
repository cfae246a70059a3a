/**
 * What is used that will go, as `ctr deprecations list` shows it. Ids are containerd's own; those of ours have their own
 * prefix. Sentences are ours.
 */
import type { AnyValue } from '../base/any-value.ts';
import { type Instant, now } from '../base/time.ts';
import { typeNameOf, unpackAny } from '../wire/any.ts';
import { OptionsSchema } from '../wire/gen/containerd/types/runc/options/oci_pb.js';

export interface Deprecation {
  readonly id: string;
  readonly message: string;
  readonly lastOccurrence: Instant;
}

const messages = {
  'io.containerd.deprecation/cri-registry-mirrors':
    'registry.mirrors of the CRI image settings is deprecated: put a hosts.toml for each registry under config_path',
  'io.containerd.deprecation/cri-registry-auths':
    'registry.auths of the CRI image settings is deprecated: give pods image pull secrets',
  'io.containerd.deprecation/cri-registry-configs':
    'registry.configs of the CRI image settings is deprecated: put a hosts.toml for each registry under config_path',
  'io.containerd.deprecation/cri-cni-bin-dir':
    'cni.bin_dir of the CRI runtime settings is deprecated: use the list bin_dirs',
  'io.containerd.deprecation/tracing-processor-config':
    "settings of plugins.'io.containerd.tracing.processor.v1.otlp' are deprecated and ignored: set OTEL_EXPORTER_OTLP_ENDPOINT",
  'io.containerd.deprecation/tracing-service-config':
    "settings of plugins.'io.containerd.internal.v1.tracing' are deprecated and ignored: set OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER",
  'io.containerd.deprecation/enable-cdi':
    'enable_cdi of the CRI runtime settings is deprecated: CDI devices are always injected',
  'io.containerd.deprecation/runc-options-task-api-address':
    'task_api_address of the runc options is deprecated: give the address in the request that creates the task',
  'io.containerd.deprecation/runc-options-task-api-version':
    'task_api_version of the runc options is deprecated: give the version in the request that creates the task',
  'io.gantry.deprecation/config-version-1':
    "configuration files of version 1 are deprecated: 'gantryd config migrate' prints them in the newest version",
} as const;

export type DeprecationId = keyof typeof messages;

export class Deprecations {
  readonly #last = new Map<DeprecationId, Instant>();

  /** Counts as having happened now. */
  used(id: DeprecationId): void {
    this.#last.set(id, now());
  }

  /** In the order of their ids. */
  list(): readonly Deprecation[] {
    return [...this.#last]
      .map(([id, lastOccurrence]) => ({ id, message: messages[id], lastOccurrence }))
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }
}

/** Of the runtime options of a task; options of other runtimes tell nothing. */
export function noteDeprecatedOptions(deprecations: Deprecations, options: AnyValue): void {
  if (typeNameOf(options) !== OptionsSchema.typeName) return;
  const { taskApiAddress, taskApiVersion } = unpackAny(OptionsSchema, options);
  if (taskApiAddress !== '') deprecations.used('io.containerd.deprecation/runc-options-task-api-address');
  if (taskApiVersion !== 0) deprecations.used('io.containerd.deprecation/runc-options-task-api-version');
}
