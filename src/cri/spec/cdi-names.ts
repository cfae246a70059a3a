/** Names of CDI devices, `vendor/class=device`, as pods ask for them (Container Device Interface specification 1.0). */
import { invalidArgument } from '../../base/errors.ts';
import type { CDIDevice } from '../../wire/gen/runtime/v1/container_pb.js';

const annotationPrefix = 'cdi.k8s.io/';
const vendorForm = '[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?';
const classForm = '[A-Za-z](?:[A-Za-z0-9_-]*[A-Za-z0-9])?';
const deviceForm = '[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?';

export const cdiKindPattern = new RegExp(`^${vendorForm}/${classForm}$`);
export const cdiDevicePattern = new RegExp(`^${deviceForm}$`);
const qualified = new RegExp(`^${vendorForm}/${classForm}=${deviceForm}$`);

/** By the field first, then by annotations `cdi.k8s.io/*`, each once. Errors: InvalidArgument. */
export function cdiDeviceNames(
  devices: readonly Pick<CDIDevice, 'name'>[],
  annotations: Readonly<Record<string, string>>,
): readonly string[] {
  const byField = devices.map(({ name }) => parseCdiName(name, 'CDI_devices'));
  const byAnnotation = Object.entries(annotations)
    .filter(([key]) => key.startsWith(annotationPrefix))
    .flatMap(([key, value]) => value.split(',').map((name) => parseCdiName(name, `annotation ${key}`)));
  return [...new Set([...byField, ...byAnnotation])];
}

function parseCdiName(name: string, where: string): string {
  if (!qualified.test(name))
    throw invalidArgument(`${where}: CDI device ${JSON.stringify(name)} must be as "vendor.com/class=name"`);
  return name;
}
