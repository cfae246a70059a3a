/**
 * What plugins may be told of a pod beyond its name: the values of capabilities, in the words of the CNI conventions
 * and, for annotations, of containerd. A plugin gets those that its configuration asks for.
 *
 * Differs from containerd, which writes the members with a capital (`HostPort`): those of the conventions are read by
 * plugins in Go just the same, and by others at all.
 *
 * Source: CNI "Extension conventions"; Kubernetes "Support traffic shaping" for the two annotations.
 */
import { invalidArgument, wrap } from '../../base/errors.ts';
import type { CniCapabilities } from './cni-client.ts';
import { parseQuantity } from './quantity.ts';

export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly containerPort: number;
  /** 0 for none, which maps nothing. */
  readonly hostPort: number;
  /** "" for all addresses. */
  readonly hostIp: string;
}

export interface PodDns {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

export interface PodCapabilities {
  readonly annotations: Readonly<Record<string, string>>;
  readonly portMappings: readonly PortMapping[];
  readonly dns?: PodDns;
  /** "" for none. */
  readonly cgroupPath: string;
  readonly ipRanges?: readonly (readonly Readonly<Record<string, string>>[])[];
  readonly aliases?: readonly string[];
}

const ingress = 'kubernetes.io/ingress-bandwidth';
const egress = 'kubernetes.io/egress-bandwidth';
/** Bits a second, as Kubernetes bounds them. */
const minRate = 1000;
const maxRate = 1_000_000_000_000_000;
/** A rate is kept over time, so what comes at once is as much as the plugin can take. */
const burst = 2 ** 32 - 1;

/** Errors: InvalidArgument for an annotation of bandwidth that is none. */
export function capabilitiesOf(pod: PodCapabilities): CniCapabilities {
  const { annotations, portMappings, dns, cgroupPath, ipRanges, aliases } = pod;
  const mapped = portMappings.filter(({ hostPort }) => hostPort > 0);
  const bandwidth = bandwidthOf(annotations);
  return {
    'io.kubernetes.cri.pod-annotations': annotations,
    ...(mapped.length > 0 && {
      portMappings: mapped.map(({ protocol, containerPort, hostPort, hostIp }) => ({
        hostPort,
        containerPort,
        protocol,
        hostIP: hostIp,
      })),
    }),
    ...(bandwidth !== undefined && { bandwidth }),
    ...(dns !== undefined && { dns }),
    ...(cgroupPath !== '' && { cgroupPath }),
    ...(ipRanges !== undefined && { ipRanges }),
    ...(aliases !== undefined && { aliases }),
  };
}

function bandwidthOf(
  annotations: PodCapabilities['annotations'],
): Readonly<Record<string, number>> | undefined {
  const incoming = rateOf(annotations, ingress);
  const outgoing = rateOf(annotations, egress);
  if (incoming === undefined && outgoing === undefined) return undefined;
  return {
    ...(incoming !== undefined && { ingressRate: incoming, ingressBurst: burst }),
    ...(outgoing !== undefined && { egressRate: outgoing, egressBurst: burst }),
  };
}

function rateOf(annotations: PodCapabilities['annotations'], name: string): number | undefined {
  const text = Object.hasOwn(annotations, name) ? annotations[name] : undefined;
  if (text === undefined) return undefined;
  try {
    const rate = parseQuantity(text);
    if (rate < minRate || rate > maxRate)
      throw invalidArgument(`${text} is not between 1k and 1P bits a second`);
    return rate;
  } catch (error) {
    throw wrap(`annotation ${name}`, error);
  }
}
