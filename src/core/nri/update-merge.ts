/** What plugins want changed of containers that exist, merged over the plugins of one request. */
import { create } from '@bufbuild/protobuf';
import { unknown } from '../../base/errors.ts';
import {
  type ContainerUpdate,
  ContainerUpdateSchema,
  type LinuxResources,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import type { FieldOwners } from './field-owners.ts';
import { mergeResources, resourceClaims } from './resources-merge.ts';

export class UpdateMerge {
  readonly #owners: FieldOwners;
  readonly #updates = new Map<string, ContainerUpdate>();

  constructor(owners: FieldOwners) {
    this.#owners = owners;
  }

  /** In the order in which containers were first named. */
  get updates(): ContainerUpdate[] {
    return [...this.#updates.values()];
  }

  /** What the request itself asks for: plugins may change it, and own what they change. */
  begin(containerId: string, resources: LinuxResources): void {
    this.#updates.set(containerId, create(ContainerUpdateSchema, { containerId, linux: { resources } }));
  }

  /**
   * An update that may fail is left out as a whole when it is at odds with another plugin's.
   * Errors: Unknown for any other, or when it names no container or `creating`, which is being made.
   */
  add(plugin: string, updates: readonly ContainerUpdate[], creating?: string): void {
    for (const update of updates) {
      if (update.containerId === '')
        throw unknown(`plugin ${JSON.stringify(plugin)} updates a container without an id`);
      if (update.containerId === creating)
        throw unknown(
          `plugin ${JSON.stringify(plugin)} asked for an update of ${creating} while it is created`,
        );
      try {
        this.#owners.claim(update.containerId, plugin, resourceClaims(update.linux?.resources));
      } catch (error) {
        if (update.ignoreFailure) continue;
        throw error;
      }
      this.#merge(update);
    }
  }

  #merge({ containerId, linux, ignoreFailure }: ContainerUpdate): void {
    const before = this.#updates.get(containerId);
    const resources = mergeResources(before?.linux?.resources, linux?.resources);
    // Who must not fail is not made to by another.
    const mayFail = ignoreFailure && (before?.ignoreFailure ?? true);
    this.#updates.set(
      containerId,
      create(ContainerUpdateSchema, { containerId, linux: { resources }, ignoreFailure: mayFail }),
    );
  }
}
