/**
 * Who has set what of which container: two plugins may not set the same thing, unless the later one removes it first.
 * Hooks are the exception: they add up, and all who added some own them.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { unknown } from '../../base/errors.ts';
import { Field, FieldSchema, type OwningPluginsSchema } from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';

/** A field, or one key of a field that has many. */
export interface Claim {
  readonly field: Field;
  readonly key?: string;
}

interface Owned {
  readonly simple: Map<Field, string>;
  readonly compound: Map<Field, Map<string, string>>;
}

export class FieldOwners {
  readonly #containers = new Map<string, Owned>();

  /** All of them or none. Errors: Unknown when somebody else owns one. */
  claim(containerId: string, plugin: string, claims: readonly Claim[]): void {
    for (const claim of claims) {
      const owner = this.owner(containerId, claim);
      if (owner !== undefined && owner !== plugin)
        throw unknown(
          `plugins ${JSON.stringify(owner)} and ${JSON.stringify(plugin)} both tried to set ${nameOf(claim)}`,
        );
    }
    for (const claim of claims) this.#set(containerId, claim, plugin);
  }

  claimHooks(containerId: string, plugin: string): void {
    const claim = { field: Field.OciHooks };
    const owners = this.owner(containerId, claim)?.split(',') ?? [];
    if (!owners.includes(plugin)) this.#set(containerId, claim, [...owners, plugin].join(','));
  }

  release(containerId: string, { field, key }: Claim): void {
    const owned = this.#containers.get(containerId);
    if (key === undefined) owned?.simple.delete(field);
    else owned?.compound.get(field)?.delete(key);
  }

  owner(containerId: string, { field, key }: Claim): string | undefined {
    const owned = this.#containers.get(containerId);
    return key === undefined ? owned?.simple.get(field) : owned?.compound.get(field)?.get(key);
  }

  /** Owners of a field by its keys. */
  ownersOf(containerId: string, field: Field): ReadonlyMap<string, string> {
    return this.#containers.get(containerId)?.compound.get(field) ?? new Map();
  }

  /** For validators among the plugins. */
  message(): MessageInitShape<typeof OwningPluginsSchema> {
    const owners = [...this.#containers].map(([id, { simple, compound }]) => {
      const keyed = [...compound].map(([field, keys]) => [field, { owners: Object.fromEntries(keys) }]);
      return [id, { simple: Object.fromEntries(simple), compound: Object.fromEntries(keyed) }];
    });
    return { owners: Object.fromEntries(owners) };
  }

  #set(containerId: string, { field, key }: Claim, owner: string): void {
    let owned = this.#containers.get(containerId);
    if (owned === undefined) {
      owned = { simple: new Map(), compound: new Map() };
      this.#containers.set(containerId, owned);
    }
    if (key === undefined) {
      owned.simple.set(field, owner);
      return;
    }
    const keys = owned.compound.get(field) ?? new Map<string, string>();
    owned.compound.set(field, keys.set(key, owner));
  }
}

function nameOf({ field, key }: Claim): string {
  const name = FieldSchema.value[field]?.name ?? `field ${field}`;
  return key === undefined ? name : `${name} ${JSON.stringify(key)}`;
}
