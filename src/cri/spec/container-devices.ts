/** Devices in a container, and the rules of its cgroup about them: all is forbidden but what is named. */
import { ContainerdError, invalidArgument } from '../../base/errors.ts';
import type { SpecDevice, SpecDeviceRule, SpecUser } from '../../oci/runtime-spec.ts';
import type { Device } from '../../wire/gen/runtime/v1/container_pb.js';
import type { HostDevice, HostReads, SpecSettings } from './spec-facts.ts';

export interface ContainerDevices {
  readonly devices: readonly SpecDevice[];
  readonly rules: readonly SpecDeviceRule[];
}

export interface DeviceContext {
  readonly privileged: boolean;
  readonly readDevices: HostReads['devices'];
  readonly settings: Pick<
    SpecSettings,
    'privilegedWithoutHostDevices' | 'privilegedWithoutHostDevicesAllDevicesAllowed'
  >;
  /** Who owns the devices in the container; as on the host when absent. */
  readonly owner?: Pick<SpecUser, 'uid' | 'gid'>;
}

const everything: SpecDeviceRule = { allow: true, access: 'rwm' };
export const nothing: SpecDeviceRule = { allow: false, access: 'rwm' };

/** Errors: InvalidArgument for what is no device, and for permissions other than of `rwm`. */
export async function containerDevices(
  wished: readonly Pick<Device, 'hostPath' | 'containerPath' | 'permissions'>[],
  context: DeviceContext,
): Promise<ContainerDevices> {
  const { privileged, settings, readDevices } = context;
  const onHost = privileged && !settings.privilegedWithoutHostDevices ? await readDevices('/dev') : [];
  const byPath = new Map<string, SpecDevice>(onHost.map((device) => [device.path, device]));
  const rules: SpecDeviceRule[] = [nothing];
  for (const wish of wished)
    for (const device of await devicesOf(wish, context)) {
      byPath.set(device.path, device);
      rules.push(ruleOf(device, wish.permissions));
    }
  const all = privileged && (onHost.length > 0 || settings.privilegedWithoutHostDevicesAllDevicesAllowed);
  return { devices: [...byPath.values()], rules: all ? [everything] : rules };
}

async function devicesOf(
  { hostPath, containerPath, permissions }: Pick<Device, 'hostPath' | 'containerPath' | 'permissions'>,
  { readDevices, owner }: DeviceContext,
): Promise<SpecDevice[]> {
  if (!hostPath.startsWith('/') || (containerPath !== '' && !containerPath.startsWith('/')))
    throw invalidArgument(
      `device ${JSON.stringify(hostPath)} at ${JSON.stringify(containerPath)}: paths must be absolute`,
    );
  if (!/^[rwm]{1,3}$/.test(permissions))
    throw invalidArgument(`device ${hostPath}: permissions ${JSON.stringify(permissions)} must be of "rwm"`);
  const found = await readDevices(hostPath).catch((error: unknown) => {
    throw invalidArgument(`device ${hostPath}: ${ContainerdError.from(error).message}`, error);
  });
  const base = containerPath === '' ? hostPath : containerPath;
  return found.map((device) => ({
    ...device,
    ...(owner && { uid: owner.uid, gid: owner.gid }),
    path: placeOf(device, hostPath, base),
  }));
}

const placeOf = ({ path }: HostDevice, from: string, to: string): string =>
  path.startsWith(`${from}/`) ? `${to}${path.slice(from.length)}` : to;

const ruleOf = ({ type, major, minor }: SpecDevice, access: string): SpecDeviceRule => ({
  allow: true,
  type: type === 'b' ? 'b' : 'c',
  ...(major !== undefined && { major }),
  ...(minor !== undefined && { minor }),
  access,
});
