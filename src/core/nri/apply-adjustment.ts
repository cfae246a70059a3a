/**
 * What plugins want of a container that is being created, put into its runtime specification. Removals come first, so
 * that what is removed and set is replaced. The specification given is not changed.
 *
 * CDI devices are the caller's to resolve (`cdiDevicesOf`). Classes of block I/O are refused: nothing here reads what
 * they would stand for.
 */
import path from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import type { RuntimeSpec, SpecHookName, SpecHooks, SpecMount } from '../../oci/runtime-spec.ts';
import type { ContainerAdjustment, Hook, Mount } from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import { applyList, applyWords } from './apply-keyed.ts';
import { applyLinux } from './apply-linux.ts';
import { toNumber } from './apply-resources.ts';

export const cdiDevicesOf = (adjustment: ContainerAdjustment): string[] =>
  adjustment.CDIDevices.map(({ name }) => name);

/** Errors: InvalidArgument for what no specification can say, FailedPrecondition for what is not supported here. */
export function applyAdjustment(spec: RuntimeSpec, adjustment: ContainerAdjustment): RuntimeSpec {
  const { linux } = adjustment;
  const adjusted = {
    ...spec,
    annotations: applyWords(spec.annotations, adjustment.annotations),
    mounts: applyMounts(spec.mounts ?? [], adjustment.mounts),
    ...applyHooks(spec.hooks, adjustment),
    ...applyProcess(spec, adjustment),
  };
  return linux === undefined ? adjusted : applyLinux(withPropagation(adjusted, adjustment.mounts), linux);
}

function applyProcess(
  spec: RuntimeSpec,
  { args, env, rlimits, linux }: ContainerAdjustment,
): Pick<RuntimeSpec, 'process'> {
  const { process } = spec;
  if (process === undefined) return {};
  const variables = applyList(
    process.env ?? [],
    (line) => line.split('=', 1)[0] ?? '',
    env.map((value) => ({ key: value.key, value })),
    ({ key, value }) => `${key}=${value}`,
  );
  const bounds = applyList(
    process.rlimits ?? [],
    ({ type }) => type,
    rlimits.map((value) => ({ key: value.type, value })),
    ({ type, hard, soft }) => ({ type, hard: toNumber(hard), soft: toNumber(soft) }),
  );
  const { oomScoreAdj } = linux ?? {};
  return {
    process: {
      ...process,
      ...(args.length === 0 ? {} : { args }),
      env: variables,
      rlimits: bounds,
      ...(oomScoreAdj === undefined ? {} : { oomScoreAdj: toNumber(oomScoreAdj.value) }),
    },
  };
}

function applyMounts(before: readonly SpecMount[], asked: readonly Mount[]): SpecMount[] {
  const mounts = applyList(
    before,
    ({ destination }) => path.posix.normalize(destination),
    asked.map((value) => ({ key: value.destination, value })),
    toMount,
  );
  if (asked.length === 0) return mounts;
  // What is mounted below another mount comes after it.
  const depth = ({ destination }: SpecMount): number =>
    path.posix
      .normalize(destination)
      .split('/')
      .filter((part) => part !== '').length;
  return mounts.toSorted((one, other) => depth(one) - depth(other));
}

function toMount({ destination, type, source, options }: Mount): SpecMount {
  if (!path.posix.isAbsolute(destination))
    throw invalidArgument(
      `an NRI plugin mounts on ${JSON.stringify(destination)}, which is not an absolute path`,
    );
  return { destination, type, source, options };
}

/** A mount that shares what is mounted in it needs a root that does, too. */
function withPropagation(spec: RuntimeSpec, mounts: readonly Mount[]): RuntimeSpec {
  const wanted = new Set(mounts.flatMap(({ options }) => options));
  const before = spec.linux?.rootfsPropagation;
  if (wanted.has('rshared') || wanted.has('shared'))
    return { ...spec, linux: { ...spec.linux, rootfsPropagation: 'rshared' } };
  const isShared = before === 'rshared' || before === 'rslave';
  if (isShared || !(wanted.has('rslave') || wanted.has('slave'))) return spec;
  return { ...spec, linux: { ...spec.linux, rootfsPropagation: 'rslave' } };
}

function applyHooks(
  before: SpecHooks | undefined,
  { hooks }: ContainerAdjustment,
): Pick<RuntimeSpec, 'hooks'> {
  if (hooks === undefined) return before === undefined ? {} : { hooks: before };
  const added: readonly (readonly [SpecHookName, readonly Hook[]])[] = [
    ['prestart', hooks.prestart],
    ['createRuntime', hooks.createRuntime],
    ['createContainer', hooks.createContainer],
    ['startContainer', hooks.startContainer],
    ['poststart', hooks.poststart],
    ['poststop', hooks.poststop],
  ];
  const after: Partial<Record<SpecHookName, NonNullable<SpecHooks[SpecHookName]>>> = { ...before };
  for (const [name, more] of added)
    if (more.length > 0) after[name] = [...(after[name] ?? []), ...more.map(toHook)];
  return Object.keys(after).length === 0 ? {} : { hooks: after };
}

function toHook({ path: file, args, env, timeout }: Hook): NonNullable<SpecHooks[SpecHookName]>[number] {
  if (!path.posix.isAbsolute(file))
    throw invalidArgument(
      `an NRI plugin adds the hook ${JSON.stringify(file)}, which is not an absolute path`,
    );
  return { path: file, args, env, ...(timeout === undefined ? {} : { timeout: toNumber(timeout.value) }) };
}
