/**
 * Capabilities of a container (capabilities(7)): the usual set, `ALL` first and then single ones, added before dropped.
 * Ambient ones are given when asked for (KEP-2763), which containerd never does: without them a process that is not
 * root has none after exec, whatever was added.
 */
import { allCapabilities, defaultCapabilities, parseCapability } from '../../oci/capabilities.ts';
import type { SpecCapabilities } from '../../oci/runtime-spec.ts';
import type { Capability } from '../../wire/gen/runtime/v1/container_pb.js';

export interface CapabilityWords {
  readonly capabilities?:
    | Pick<Capability, 'addCapabilities' | 'dropCapabilities' | 'addAmbientCapabilities'>
    | undefined;
  readonly privileged: boolean;
}

/** `held` are those of this process, which `ALL` and privileged stand for. Errors: InvalidArgument (unknown name). */
export function processCapabilities(
  { capabilities, privileged }: CapabilityWords,
  held: readonly string[] = allCapabilities,
): SpecCapabilities {
  const add = capabilities?.addCapabilities ?? [];
  const drop = capabilities?.dropCapabilities ?? [];
  const ambient = (capabilities?.addAmbientCapabilities ?? []).flatMap((name) =>
    isAll(name) ? [...held] : [parseCapability(name)],
  );
  const added = [...singles(add), ...ambient];
  const dropped = new Set(singles(drop));
  const base = privileged || add.some(isAll) ? held : defaultCapabilities;
  const start = drop.some(isAll) && !privileged ? [] : base;
  const names = [...new Set([...start, ...added])].filter((name) => privileged || !dropped.has(name));
  const raised = [...new Set(ambient)].filter((name) => names.includes(name));
  return {
    bounding: names,
    effective: names,
    permitted: names,
    ...(raised.length > 0 && { inheritable: raised, ambient: raised }),
  };
}

const isAll = (name: string): boolean => name.toUpperCase() === 'ALL';
const singles = (names: readonly string[]): string[] =>
  names.filter((name) => !isAll(name)).map((name) => parseCapability(name));
