/** The Linux part of an adjustment, put into a runtime specification. */
import { failedPrecondition, invalidArgument } from '../../base/errors.ts';
import type { RuntimeSpec, SpecDevice, SpecLinux, SpecNamespace } from '../../oci/runtime-spec.ts';
import {
  IOPrioClassSchema,
  type LinuxContainerAdjustment,
  type LinuxDevice,
  type LinuxRdt,
  LinuxSchedulerFlagSchema,
  LinuxSchedulerPolicySchema,
  type LinuxSeccomp,
  MpolFlagSchema,
  MpolModeSchema,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import { applyList, applyWords } from './apply-keyed.ts';
import { applyResources, toNumber } from './apply-resources.ts';
import { unmark } from './messages.ts';

/** Members of the specification that Gantry itself has no use for. */
interface FurtherLinux extends Omit<SpecLinux, 'intelRdt'> {
  readonly intelRdt?: object;
  readonly netDevices?: Readonly<Record<string, { readonly name?: string }>>;
  readonly memoryPolicy?: unknown;
}

/** Errors: InvalidArgument, FailedPrecondition. */
export function applyLinux(spec: RuntimeSpec, asked: LinuxContainerAdjustment): RuntimeSpec {
  const before: FurtherLinux = spec.linux ?? {};
  const sysctl = applyWords(before.sysctl, asked.sysctl);
  const netDevices = applyWords<{ readonly name?: string }>(before.netDevices, asked.netDevices);
  const devices = applyDevices(before.devices ?? [], asked.devices);
  const linux: FurtherLinux = {
    ...withoutRdt(before, asked.rdt),
    devices,
    ...resourcesOf(before, asked),
    ...(asked.cgroupsPath === '' ? {} : { cgroupsPath: asked.cgroupsPath }),
    namespaces: applyNamespaces(before.namespaces ?? [], asked),
    sysctl,
    ...(Object.keys(netDevices).length === 0 && before.netDevices === undefined
      ? {}
      : { netDevices: namesOf(netDevices) }),
    ...(asked.seccompPolicy === undefined ? {} : { seccomp: seccompOf(asked.seccompPolicy) }),
    ...(asked.memoryPolicy === undefined ? {} : { memoryPolicy: memoryPolicyOf(asked.memoryPolicy) }),
    ...rdtOf(before, asked),
  };
  return { ...spec, linux, ...scheduled(spec, asked) };
}

const namesOf = (
  devices: Readonly<Record<string, { readonly name?: string }>>,
): NonNullable<FurtherLinux['netDevices']> =>
  Object.fromEntries(
    Object.entries(devices).map(([host, { name = '' }]) => [host, name === '' ? {} : { name }]),
  );

/** A device that is added may be used, too. */
function resourcesOf(
  { resources: before }: SpecLinux,
  { resources, devices }: LinuxContainerAdjustment,
): Pick<SpecLinux, 'resources'> {
  const after = resources === undefined ? before : applyResources(before, resources);
  const rules = devices
    .filter(({ path, type }) => !unmark(path).isRemoval && (type === 'b' || type === 'c'))
    .map(({ type, major, minor }) => ({
      allow: true,
      type: type as 'b' | 'c',
      major: toNumber(major),
      minor: toNumber(minor),
      access: 'rwm',
    }));
  if (rules.length === 0) return after === undefined ? {} : { resources: after };
  return { resources: { ...after, devices: [...(after?.devices ?? []), ...rules] } };
}

const deviceTypes = ['c', 'b', 'u', 'p'] as const;

const applyDevices = (before: readonly SpecDevice[], asked: readonly LinuxDevice[]): SpecDevice[] =>
  applyList(
    before,
    ({ path }) => path,
    asked.map((value) => ({ key: value.path, value })),
    ({ path, type: named, major, minor, fileMode, uid, gid }) => {
      const type = deviceTypes.find((one) => one === named);
      if (type === undefined || !path.startsWith('/'))
        throw invalidArgument(
          `an NRI plugin adds the device ${JSON.stringify(path)} of type ${JSON.stringify(named)}`,
        );
      return {
        path,
        type,
        major: toNumber(major),
        minor: toNumber(minor),
        ...(fileMode === undefined ? {} : { fileMode: fileMode.value }),
        ...(uid === undefined ? {} : { uid: uid.value }),
        ...(gid === undefined ? {} : { gid: gid.value }),
      };
    },
  );

const namespaceTypes = ['pid', 'ipc', 'uts', 'mount', 'network', 'user', 'cgroup', 'time'] as const;

const applyNamespaces = (
  before: readonly SpecNamespace[],
  asked: LinuxContainerAdjustment,
): SpecNamespace[] =>
  applyList(
    before,
    ({ type }) => type,
    asked.namespaces.map((value) => ({ key: value.type, value })),
    ({ type: named, path }) => {
      const type = namespaceTypes.find((one) => one === named);
      if (type === undefined)
        throw invalidArgument(`an NRI plugin adds a namespace of type ${JSON.stringify(named)}`);
      return path === '' ? { type } : { type, path };
    },
  );

/** A filter that compares with another number than was asked for would be another filter. */
function exact(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw failedPrecondition(
      `an NRI plugin filters system calls by ${value}: numbers beyond 2^53 are not supported`,
    );
  return Number(value);
}

function seccompOf(policy: LinuxSeccomp): unknown {
  const { defaultAction, defaultErrno, architectures, flags, listenerPath, listenerMetadata, syscalls } =
    policy;
  return {
    defaultAction,
    ...(defaultErrno === undefined ? {} : { defaultErrnoRet: defaultErrno.value }),
    ...(architectures.length === 0 ? {} : { architectures }),
    ...(flags.length === 0 ? {} : { flags }),
    ...(listenerPath === '' ? {} : { listenerPath }),
    ...(listenerMetadata === '' ? {} : { listenerMetadata }),
    syscalls: syscalls.map(({ names, action, errnoRet, args }) => ({
      names,
      action,
      ...(errnoRet === undefined ? {} : { errnoRet: errnoRet.value }),
      args: args.map(({ index, value, valueTwo, op }) => ({
        index,
        value: exact(value),
        valueTwo: exact(valueTwo),
        op,
      })),
    })),
  };
}

const memoryPolicyOf = ({
  mode,
  nodes,
  flags,
}: NonNullable<LinuxContainerAdjustment['memoryPolicy']>): unknown => ({
  mode: MpolModeSchema.value[mode]?.name,
  nodes,
  ...(flags.length === 0 ? {} : { flags: flags.map((flag) => MpolFlagSchema.value[flag]?.name) }),
});

function withoutRdt(before: FurtherLinux, rdt: LinuxRdt | undefined): FurtherLinux {
  if (rdt?.remove !== true) return before;
  const { intelRdt: _removed, ...others } = before;
  return others;
}

/** Of single values and of the older way to name a class only. */
function rdtOf(before: SpecLinux, { rdt, resources }: LinuxContainerAdjustment): { intelRdt?: object } {
  const asked = {
    ...(resources?.rdtClass === undefined ? {} : { closID: resources.rdtClass.value }),
    ...(rdt?.closId === undefined ? {} : { closID: rdt.closId.value }),
    ...(rdt?.schemata === undefined ? {} : { schemata: rdt.schemata.value }),
    ...(rdt?.enableMonitoring === undefined ? {} : { enableMonitoring: rdt.enableMonitoring.value }),
  };
  if (Object.keys(asked).length === 0) return {};
  return { intelRdt: { ...(rdt?.remove === true ? {} : before.intelRdt), ...asked } };
}

/** What of the Linux part the specification keeps at the process. */
function scheduled(
  { process }: RuntimeSpec,
  { scheduler, ioPriority }: LinuxContainerAdjustment,
): Pick<RuntimeSpec, 'process'> {
  if (process === undefined) return {};
  const further = {
    ...(ioPriority === undefined
      ? {}
      : {
          ioPriority: {
            class: IOPrioClassSchema.value[ioPriority.class]?.name,
            priority: ioPriority.priority,
          },
        }),
    ...(scheduler === undefined
      ? {}
      : {
          scheduler: {
            policy: LinuxSchedulerPolicySchema.value[scheduler.policy]?.name,
            nice: scheduler.nice,
            priority: scheduler.priority,
            flags: scheduler.flags.map((flag) => LinuxSchedulerFlagSchema.value[flag]?.name),
            runtime: toNumber(scheduler.runtime),
            deadline: toNumber(scheduler.deadline),
            period: toNumber(scheduler.period),
          },
        }),
  };
  return { process: { ...process, ...further } };
}
