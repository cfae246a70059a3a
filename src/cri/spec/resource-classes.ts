/**
 * Classes of cache and of block I/O that annotations put a container in: `io.kubernetes.cri.rdt-class` and
 * `…blockio-class` of its own, else the pod's for this container, else the pod's for all. A class of RDT is the name of
 * a group in resctrl(5), which runc joins; those of block I/O are not known here.
 */
import { invalidArgument } from '../../base/errors.ts';
import type { SpecLinux } from '../../oci/runtime-spec.ts';
import type { SpecSettings } from './spec-facts.ts';

export interface ClassWords {
  readonly name: string;
  readonly own: Readonly<Record<string, string>>;
  readonly pod: Readonly<Record<string, string>>;
}

type Settings = Pick<
  SpecSettings,
  'rdtEnabled' | 'ignoreRdtNotEnabledErrors' | 'ignoreBlockioNotEnabledErrors'
>;

/** Errors: InvalidArgument where a class cannot be had, and the settings do not ignore that. */
export function resourceClasses(words: ClassWords, settings: Settings): Pick<SpecLinux, 'intelRdt'> {
  const blockio = classOf('blockio', words);
  if (blockio !== undefined && !settings.ignoreBlockioNotEnabledErrors)
    throw invalidArgument(
      `block I/O class ${JSON.stringify(blockio)}: blockio support is not enabled (ignore_blockio_not_enabled_errors)`,
    );
  const closID = classOf('rdt', words);
  if (closID === undefined) return {};
  if (!/^[A-Za-z0-9_-][A-Za-z0-9_.-]*$/.test(closID))
    throw invalidArgument(`RDT class ${JSON.stringify(closID)} is no name of a group`);
  if (settings.rdtEnabled) return { intelRdt: { closID } };
  if (settings.ignoreRdtNotEnabledErrors) return {};
  throw invalidArgument(
    `RDT class ${JSON.stringify(closID)}: RDT is not enabled (ignore_rdt_not_enabled_errors)`,
  );
}

function classOf(kind: 'rdt' | 'blockio', { name, own, pod }: ClassWords): string | undefined {
  const prefix = `${kind}.resources.beta.kubernetes.io`;
  return own[`io.kubernetes.cri.${kind}-class`] ?? pod[`${prefix}/container.${name}`] ?? pod[`${prefix}/pod`];
}
