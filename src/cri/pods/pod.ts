/**
 * A pod as we know it: its record, which is in the sandbox store from before the first thing is made for it until the
 * last one is gone, and whether its pause process runs.
 */
import { fromJson, toJson } from '@bufbuild/protobuf';
import type { AnyValue } from '../../base/any-value.ts';
import { invalidArgument } from '../../base/errors.ts';
import { parseSandboxId, type SandboxId } from '../../base/identifiers.ts';
import { type Instant, instantOfNs } from '../../base/time.ts';
import { asObject, type JsonObject, optionalString, optionalStrings } from '../../oci/json.ts';
import { packJson, unpackJson } from '../../wire/any.ts';
import { type PodSandboxConfig, PodSandboxConfigSchema } from '../../wire/gen/runtime/v1/sandbox_pb.js';

export const podExtension = 'io.cri-containerd.sandbox.metadata';
const recordUrl = 'gantry.io/cri/Pod/1';

export interface PodRecord {
  readonly id: SandboxId;
  readonly config: PodSandboxConfig;
  /** As it was asked for; "" for the default one. */
  readonly handler: string;
  readonly createdAt: Instant;
  /** "" in the host's network. */
  readonly netns: string;
  /** The pod's own address first. */
  readonly ips: readonly string[];
  readonly selinuxLabel: string;
  /** The caller was told of it: one that is not goes when the daemon starts again. */
  readonly made: boolean;
}

export interface Pod {
  readonly id: SandboxId;
  record: PodRecord;
  ready: boolean;
  /** Of the pause process; 0 when there is none. */
  pid: number;
  /** Settles when the pause process has ended. */
  ended: Promise<void>;
}

export const podName = ({ metadata }: PodSandboxConfig): string =>
  [metadata?.name, metadata?.namespace, metadata?.uid, metadata?.attempt].join('_');

export const podRecordToAny = ({ config, createdAt, ...rest }: PodRecord): AnyValue =>
  packJson(recordUrl, {
    ...rest,
    createdAt: String(createdAt),
    config: toJson(PodSandboxConfigSchema, config),
  });

/** Errors: InvalidArgument. */
export function podRecordOf(any: AnyValue | undefined): PodRecord {
  if (any === undefined) throw invalidArgument('it has no metadata of the CRI');
  const what = 'metadata of the pod';
  const object = asObject(unpackJson(recordUrl, any), what);
  return {
    id: parseSandboxId(optionalString(object, 'id', what) ?? ''),
    config: configOf(object),
    handler: optionalString(object, 'handler', what) ?? '',
    createdAt: instantOfNs(BigInt(optionalString(object, 'createdAt', what) ?? '0')),
    netns: optionalString(object, 'netns', what) ?? '',
    ips: optionalStrings(object, 'ips', what) ?? [],
    selinuxLabel: optionalString(object, 'selinuxLabel', what) ?? '',
    made: object['made'] === true,
  };
}

const configOf = ({ config }: JsonObject): PodSandboxConfig =>
  fromJson(PodSandboxConfigSchema, config as Parameters<typeof fromJson>[1], { ignoreUnknownFields: true });
