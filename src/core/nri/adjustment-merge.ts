/**
 * What plugins want changed of a container that is being created, merged in the order of the plugins. Each plugin sees the
 * container as those before it left it.
 *
 * A key with `-` in front removes what others set or the container had; a plugin that removes and sets one key in one
 * answer replaces it. In the outcome a removal stands beside what was set after it.
 */
import { clone, create } from '@bufbuild/protobuf';
import {
  type Container,
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  ContainerSchema,
  Field,
  type Hooks,
  type LinuxContainerAdjustment,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import { FieldOwners } from './field-owners.ts';
import { type NriContainer, unmark } from './messages.ts';
import { mergeResources, resourceClaims } from './resources-merge.ts';

const hookNames = [
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
] as const satisfies readonly (keyof Hooks)[];

/** A list whose items are told apart by a key. */
interface KeyedList<Item> {
  readonly field: Field;
  readonly keyOf: (item: Item) => string;
}

/** Members that have one owner each, with the place of the same in the container. */
const simpleMembers = [
  ['cgroupsPath', Field.CgroupsPath],
  ['oomScoreAdj', Field.OomScoreAdj],
  ['ioPriority', Field.IoPriority],
  ['seccompPolicy', Field.SeccompPolicy],
  ['scheduler', Field.LinuxSched],
  ['memoryPolicy', Field.MemoryPolicy],
] as const satisfies readonly (readonly [keyof LinuxContainerAdjustment, Field])[];

export class AdjustmentMerge {
  readonly owners: FieldOwners;
  /** As adjusted so far. */
  readonly container: Container;
  readonly adjustment: ContainerAdjustment = create(ContainerAdjustmentSchema, { hooks: {}, linux: {} });
  #plugin = '';

  constructor(container: NriContainer, owners = new FieldOwners()) {
    this.container = clone(ContainerSchema, create(ContainerSchema, container));
    this.container.linux =
      create(ContainerSchema, { linux: this.container.linux ?? {} }).linux ?? this.#never();
    this.owners = owners;
  }

  /** Errors: Unknown when another plugin has set the same. The whole outcome is then of no use. */
  add(plugin: string, asked: ContainerAdjustment | undefined): void {
    if (asked === undefined) return;
    this.#plugin = plugin;
    // The container and the outcome must not share messages: the next plugin's changes are made in place.
    const more = clone(ContainerAdjustmentSchema, asked);
    this.#addProcess(more);
    this.#addHooks(more.hooks);
    if (more.linux !== undefined) this.#addLinux(more.linux);
  }

  #addProcess(more: ContainerAdjustment): void {
    const { adjustment, container } = this;
    const before = container.env;
    this.#words(Field.Annotations, more.annotations, adjustment.annotations, container.annotations);
    const mounts: KeyedList<{ destination: string }> = {
      field: Field.Mounts,
      keyOf: (mount) => mount.destination,
    };
    container.mounts = this.#list(mounts, more.mounts, adjustment.mounts, container.mounts);
    const variables = before.map((line) => {
      const [key = ''] = line.split('=', 1);
      return { key, value: line.slice(key.length + 1), line };
    });
    const env: KeyedList<{ key: string }> = { field: Field.Env, keyOf: ({ key }) => key };
    container.env = this.#list<{ key: string; value: string; line?: string }>(
      env,
      more.env,
      adjustment.env,
      variables,
    ).map(({ key, value, line }) => line ?? `${key}=${value}`);
    const rlimits: KeyedList<{ type: string }> = { field: Field.Rlimits, keyOf: ({ type }) => type };
    container.rlimits = this.#list(rlimits, more.rlimits, adjustment.rlimits, container.rlimits);
    this.#claim(...more.CDIDevices.map(({ name: key }) => ({ field: Field.CdiDevices, key })));
    adjustment.CDIDevices.push(...more.CDIDevices);
    this.#addArgs(more.args);
  }

  /** An empty first word says that the arguments of another plugin may be replaced. */
  #addArgs(args: readonly string[]): void {
    if (args.length === 0) return;
    const replaces = args[0] === '';
    if (replaces) this.owners.release(this.container.id, { field: Field.Args });
    this.#claim({ field: Field.Args });
    this.adjustment.args = replaces ? args.slice(1) : [...args];
    this.container.args = [...this.adjustment.args];
  }

  #addHooks(hooks: Hooks | undefined): void {
    if (hooks === undefined || hookNames.every((name) => hooks[name].length === 0)) return;
    this.owners.claimHooks(this.container.id, this.#plugin);
    this.container.hooks ??= create(ContainerSchema, { hooks: {} }).hooks ?? this.#never();
    for (const name of hookNames) {
      this.adjustment.hooks?.[name].push(...hooks[name]);
      this.container.hooks[name].push(...hooks[name]);
    }
  }

  #addLinux(more: LinuxContainerAdjustment): void {
    const linux = this.adjustment.linux ?? this.#never();
    const shown = this.container.linux ?? this.#never();
    const devices: KeyedList<{ path: string }> = { field: Field.Devices, keyOf: ({ path }) => path };
    shown.devices = this.#list(devices, more.devices, linux.devices, shown.devices);
    const namespaces: KeyedList<{ type: string }> = { field: Field.Namespace, keyOf: ({ type }) => type };
    shown.namespaces = this.#list(namespaces, more.namespaces, linux.namespaces, shown.namespaces);
    this.#words(Field.Sysctl, more.sysctl, linux.sysctl, shown.sysctl);
    this.#words(Field.LinuxNetDevices, more.netDevices, linux.netDevices, shown.netDevices);
    this.#claim(...resourceClaims(more.resources));
    if (more.resources !== undefined) {
      linux.resources = mergeResources(linux.resources, more.resources);
      shown.resources = mergeResources(shown.resources, more.resources);
    }
    for (const [name, field] of simpleMembers) {
      const value = more[name];
      if (value === undefined || value === '') continue;
      this.#claim({ field });
      Object.assign(linux, { [name]: value });
      if (name !== 'memoryPolicy') Object.assign(shown, { [name]: value });
    }
    this.#addRdt(more);
  }

  #addRdt({ rdt }: LinuxContainerAdjustment): void {
    if (rdt === undefined) return;
    const linux = this.adjustment.linux ?? this.#never();
    const members = [
      ['closId', Field.RdtClosID],
      ['schemata', Field.RdtSchemata],
      ['enableMonitoring', Field.RdtEnableMonitoring],
    ] as const;
    if (rdt.remove) {
      for (const [, field] of members) this.owners.release(this.container.id, { field });
      delete linux.rdt;
    }
    for (const [name, field] of members) if (rdt[name] !== undefined) this.#claim({ field });
    linux.rdt = { ...linux.rdt, ...rdt, remove: rdt.remove || (linux.rdt?.remove ?? false) };
  }

  /** Changes `adjusted` in place, and returns what becomes of `shown`. */
  #list<Item>(
    { field, keyOf }: KeyedList<Item>,
    asked: readonly Item[],
    adjusted: Item[],
    shown: readonly Item[],
  ): Item[] {
    const removed = new Set<string>();
    const set = new Map<string, Item>();
    for (const item of asked) {
      const { key, isRemoval } = unmark(keyOf(item));
      if (isRemoval) removed.add(key);
      else set.set(key, item);
    }
    for (const key of removed) this.owners.release(this.container.id, { field, key });
    this.#claim(...[...set.keys()].map((key) => ({ field, key })));
    const marks = asked.filter((item) => unmark(keyOf(item)).isRemoval);
    const touched = (key: string): boolean => removed.has(key) || set.has(key);
    const kept = adjusted.filter((item) => {
      const { key, isRemoval } = unmark(keyOf(item));
      return isRemoval ? !removed.has(key) : !touched(key);
    });
    adjusted.splice(0, adjusted.length, ...kept, ...marks, ...set.values());
    return [...shown.filter((item) => !touched(keyOf(item))), ...set.values()];
  }

  /** The same for a map; changes both in place. */
  #words<Value>(
    field: Field,
    asked: Readonly<Record<string, Value>>,
    adjusted: Record<string, Value>,
    shown: Record<string, Value>,
  ): void {
    const entries = Object.entries(asked).map(([marked, value]) => ({ ...unmark(marked), value, marked }));
    for (const { key, isRemoval, marked, value } of entries) {
      if (!isRemoval) continue;
      this.owners.release(this.container.id, { field, key });
      delete adjusted[key];
      delete shown[key];
      put(adjusted, marked, value);
    }
    for (const { key, isRemoval, value } of entries) {
      if (isRemoval) continue;
      this.#claim({ field, key });
      put(adjusted, key, value);
      put(shown, key, value);
    }
  }

  #claim(...claims: Parameters<FieldOwners['claim']>[2]): void {
    this.owners.claim(this.container.id, this.#plugin, claims);
  }

  #never(): never {
    throw new Error('a message that was made here has its members');
  }
}

/** As data, whatever the key is called. */
const put = <Value>(record: Record<string, Value>, key: string, value: Value): void => {
  Object.defineProperty(record, key, { value, enumerable: true, configurable: true, writable: true });
};
