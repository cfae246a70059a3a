/**
 * A container as we know it: its record, which is in the container store, and its status, which is in a file of its own
 * because it changes: a container whose file is missing was never told of.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fromJson, toJson } from '@bufbuild/protobuf';
import type { AnyValue } from '../../base/any-value.ts';
import { invalidArgument } from '../../base/errors.ts';
import { type ContainerId, parseContainerId } from '../../base/identifiers.ts';
import { asObject, type JsonObject, optionalString, parseJsonObject } from '../../oci/json.ts';
import type { SpecUser } from '../../oci/runtime-spec.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import { replaceFile } from '../../platform/replace-file.ts';
import { packJson, unpackJson } from '../../wire/any.ts';
import {
  type ContainerConfig,
  ContainerConfigSchema,
  ContainerState,
} from '../../wire/gen/runtime/v1/container_pb.js';

export const containerExtension = 'io.cri-containerd.container.metadata';
const recordUrl = 'gantry.io/cri/Container/1';
const statusBytesMax = 64 * 1024;

export interface ContainerRecord {
  readonly id: ContainerId;
  readonly podId: string;
  readonly config: ContainerConfig;
  /** Digest of the image's config. */
  readonly imageId: string;
  /** Names the image; the id where it has no name. */
  readonly imageName: string;
  readonly imageRef: string;
  readonly stopSignal: string;
  readonly user: SpecUser;
  /** "" for none. */
  readonly logPath: string;
}

/** Times in nanoseconds since the epoch; 0 for what has not happened. */
export interface ContainerProgress {
  readonly createdAt: bigint;
  readonly startedAt: bigint;
  readonly finishedAt: bigint;
  readonly pid: number;
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
}

export interface CriContainer {
  readonly id: ContainerId;
  record: ContainerRecord;
  progress: ContainerProgress;
  oomKilled: boolean;
  /** The stop signal is sent once, however often the container is stopped. */
  stopSignalled: boolean;
  /** Settles when the container has ended and this is recorded. */
  ended: Promise<void>;
}

export function stateOf({ createdAt, startedAt, finishedAt }: ContainerProgress): ContainerState {
  if (finishedAt > 0n) return ContainerState.CONTAINER_EXITED;
  if (startedAt > 0n) return ContainerState.CONTAINER_RUNNING;
  return createdAt > 0n ? ContainerState.CONTAINER_CREATED : ContainerState.CONTAINER_UNKNOWN;
}

export const containerName = (config: ContainerConfig, podName: string): string => {
  const [name, namespace, uid] = podName.split('_');
  return [config.metadata?.name, name, namespace, uid, config.metadata?.attempt].join('_');
};

export const containerRecordToAny = ({ config, ...rest }: ContainerRecord): AnyValue =>
  packJson(recordUrl, { ...rest, config: toJson(ContainerConfigSchema, config) });

/** Errors: InvalidArgument. */
export function containerRecordOf(any: AnyValue | undefined): ContainerRecord {
  if (any === undefined) throw invalidArgument('it has no metadata of the CRI');
  const what = 'metadata of the container';
  const object = asObject(unpackJson(recordUrl, any), what);
  const text = (name: string): string => optionalString(object, name, what) ?? '';
  return {
    id: parseContainerId(text('id')),
    podId: text('podId'),
    config: fromJson(ContainerConfigSchema, object['config'] as Parameters<typeof fromJson>[1], {
      ignoreUnknownFields: true,
    }),
    imageId: text('imageId'),
    imageName: text('imageName'),
    imageRef: text('imageRef'),
    stopSignal: text('stopSignal'),
    user: userOf(object, what),
    logPath: text('logPath'),
  };
}

function userOf(object: JsonObject, what: string): SpecUser {
  const { uid, gid, additionalGids } = asObject(object['user'] ?? {}, what);
  const groups = Array.isArray(additionalGids) ? additionalGids.filter((id) => typeof id === 'number') : [];
  return { uid: Number(uid ?? 0), gid: Number(gid ?? 0), additionalGids: groups };
}

/** Directories of containers below the root directory, with their status files. */
export class ContainerFiles {
  readonly #root: string;

  constructor(root: string) {
    this.#root = join(root, 'containers');
    withNodeErrors(() => mkdirSync(this.#root, { recursive: true, mode: 0o711 }));
  }

  get root(): string {
    return this.#root;
  }

  of(id: string): string {
    return join(this.#root, id);
  }

  make(id: string): void {
    withNodeErrors(() => mkdirSync(this.of(id), { recursive: true, mode: 0o711 }));
  }

  /** Idempotent. */
  remove(id: string): void {
    withNodeErrors(() => rmSync(this.of(id), { recursive: true, force: true }));
  }

  save(id: string, progress: ContainerProgress): void {
    const { createdAt, startedAt, finishedAt, ...rest } = progress;
    const times = {
      createdAt: String(createdAt),
      startedAt: String(startedAt),
      finishedAt: String(finishedAt),
    };
    replaceFile(join(this.of(id), 'status'), JSON.stringify({ ...times, ...rest }), {
      mode: 0o600,
      durable: true,
    });
  }

  /** Undefined when there is none. Errors: InvalidArgument. */
  read(id: string): ContainerProgress | undefined {
    const file = join(this.of(id), 'status');
    if (!existsSync(file)) return undefined;
    const what = `status of container ${id}`;
    const object = parseJsonObject(
      withNodeErrors(() => readFileSync(file)),
      what,
      statusBytesMax,
    );
    const time = (name: string): bigint => BigInt(optionalString(object, name, what) ?? '0');
    return {
      createdAt: time('createdAt'),
      startedAt: time('startedAt'),
      finishedAt: time('finishedAt'),
      pid: Number(object['pid'] ?? 0),
      exitCode: Number(object['exitCode'] ?? 0),
      reason: optionalString(object, 'reason', what) ?? '',
      message: optionalString(object, 'message', what) ?? '',
    };
  }
}
