/**
 * The validator that needs no plugin: it refuses kinds of adjustments that the administrator does not want, and containers
 * for which a required plugin is missing. Settings, annotations and what they mean are containerd's.
 */
import { invalidArgument, unknown } from '../../base/errors.ts';
import {
  type Container,
  type ContainerAdjustment,
  Field,
  type PodSandbox,
  SecurityProfile_ProfileType,
} from '../../wire/gen/nri/pkg/api/v1alpha1/api_pb.js';
import type { FieldOwners } from './field-owners.ts';

export interface DefaultValidatorOptions {
  readonly enable: boolean;
  readonly rejectOciHookAdjustment: boolean;
  readonly rejectRuntimeDefaultSeccompAdjustment: boolean;
  readonly rejectUnconfinedSeccompAdjustment: boolean;
  readonly rejectCustomSeccompAdjustment: boolean;
  readonly rejectNamespaceAdjustment: boolean;
  readonly rejectSysctlAdjustment: boolean;
  /** Names without an index. */
  readonly requiredPlugins: readonly string[];
  /** Annotation of pods by which they do without what is required; "" for none. */
  readonly tolerateMissingAnnotation: string;
}

export interface Validated {
  readonly pod: PodSandbox;
  readonly container: Container;
  readonly adjustment: ContainerAdjustment;
  readonly owners: FieldOwners;
  /** Names of the plugins that are there, without their indices. */
  readonly plugins: readonly string[];
}

/** Of a pod, a list in YAML of names: plugins that it requires beside those of the settings. */
export const requiredPluginsAnnotation = 'required-plugins.noderesource.dev';

/** Errors: Unknown with the reason of the refusal; InvalidArgument for an annotation that cannot be read. */
export function validateByDefault(options: DefaultValidatorOptions, validated: Validated): void {
  if (!options.enable) return;
  validateOwners(options, validated);
  const missing = missingPlugins(options, validated);
  if (missing.length > 0)
    throw refused(
      `required ${missing.length === 1 ? 'plugin' : 'plugins'} ${quote(missing.join(','))} not present`,
    );
}

function validateOwners(options: DefaultValidatorOptions, { container, owners }: Validated): void {
  const ownerOf = (field: Field): string | undefined => owners.owner(container.id, { field });
  const hooks = ownerOf(Field.OciHooks);
  if (options.rejectOciHookAdjustment && hooks !== undefined)
    throw refused(
      `${hooks.includes(',') ? 'plugins' : 'plugin'} ${quote(hooks)} attempted restricted OCI hook injection`,
    );
  const seccomp = ownerOf(Field.SeccompPolicy);
  const restricted = restrictedSeccomp(options, container);
  if (seccomp !== undefined && restricted !== undefined)
    throw refused(`plugin ${seccomp} attempted restricted ${restricted} seccomp policy adjustment`);
  const namespaces = [...owners.ownersOf(container.id, Field.Namespace)];
  if (options.rejectNamespaceAdjustment && namespaces.length > 0) {
    const offenders = namespaces.map(([type, plugin]) => `${quote(plugin)} (namespace ${quote(type)})`);
    throw refused(`attempted restricted namespace adjustment by plugin(s) ${offenders.join(', ')}`);
  }
  const sysctls = [...owners.ownersOf(container.id, Field.Sysctl).values()];
  if (options.rejectSysctlAdjustment && sysctls.length > 0)
    throw refused(`attempted restricted sysctl adjustment by plugin(s) ${sysctls.join(', ')}`);
}

/** The kind of the container's own profile, when that kind may not be changed. A container without one has none. */
function restrictedSeccomp(options: DefaultValidatorOptions, { linux }: Container): string | undefined {
  const type = linux?.seccompProfile?.profileType ?? SecurityProfile_ProfileType.UNCONFINED;
  if (type === SecurityProfile_ProfileType.RUNTIME_DEFAULT)
    return options.rejectRuntimeDefaultSeccompAdjustment ? 'runtime default' : undefined;
  if (type === SecurityProfile_ProfileType.LOCALHOST)
    return options.rejectCustomSeccompAdjustment ? 'custom' : undefined;
  return options.rejectUnconfinedSeccompAdjustment ? 'unconfined' : undefined;
}

function missingPlugins(options: DefaultValidatorOptions, { pod, container, plugins }: Validated): string[] {
  const { requiredPlugins, tolerateMissingAnnotation: tolerate } = options;
  const tolerated = tolerate === '' ? undefined : annotationFor(pod, tolerate, container.name);
  if (tolerated !== undefined && parseBoolean(tolerate, tolerated)) return [];
  const annotated = annotationFor(pod, requiredPluginsAnnotation, container.name);
  const required = [...requiredPlugins, ...(annotated === undefined ? [] : parseNames(annotated))];
  return required.filter((name) => !plugins.includes(name));
}

/** The annotation of this container, or that of the pod. */
function annotationFor({ annotations }: PodSandbox, key: string, container: string): string | undefined {
  const names = [`${key}/container.${container}`, `${key}/pod`, key];
  const name = names.find((one) => Object.hasOwn(annotations, one));
  return name === undefined ? undefined : annotations[name];
}

function parseBoolean(annotation: string, value: string): boolean {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(value)) return true;
  if (['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(value)) return false;
  throw invalidArgument(`invalid ${annotation} annotation ${quote(value)}: it must be true or false`);
}

const nameInYaml = /^(?:"(?<double>[\w.-]+)"|'(?<single>[\w.-]+)'|(?<plain>[\w.-]+))$/;

/** A list of names, which is all that is wanted of YAML: `[a, "b"]`, or a line `- a` for each. */
function parseNames(text: string): string[] {
  const trimmed = text.trim();
  const isFlow = trimmed.startsWith('[') && trimmed.endsWith(']');
  const items = isFlow
    ? trimmed.slice(1, -1).split(',')
    : trimmed.split('\n').map((line) => (/^\s*- /.test(line) ? line.replace(/^\s*- /, '') : `?${line}`));
  const wanted = trimmed === '' ? [] : items.map((item) => item.trim());
  if (isFlow && wanted.at(-1) === '') wanted.pop();
  return wanted.map((item) => {
    const { double, single, plain } = nameInYaml.exec(item)?.groups ?? {};
    const name = double ?? single ?? plain;
    if (name === undefined)
      throw invalidArgument(
        `invalid ${requiredPluginsAnnotation} annotation ${quote(text)}: it must be a list of names, as in ["a", "b"]`,
      );
    return name;
  });
}

const quote = (text: string): string => JSON.stringify(text);
const refused = (reason: string): Error => unknown(`validation error: ${reason}`);
