/**
 * Dumps of tasks in the content store, as containerd keeps them: the directory that CRIU wrote as a plain tar, and the
 * container's spec as a protobuf Any. The index around them is the client's business.
 *
 * Dumps pass through the task's work directory, which goes with the task; containerd leaves what it restores from in
 * the system's temporary directory.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { toBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { AnyValue } from '../../../base/any-value.ts';
import { forCleanup, type NamespacedContext } from '../../../base/context.ts';
import { dataLoss, failedPrecondition, hasCode, unknown, wrap } from '../../../base/errors.ts';
import { parseIngestRef } from '../../../base/identifiers.ts';
import { limits } from '../../../base/limits.ts';
import type { Descriptor } from '../../../oci/descriptor.ts';
import { mediaTypes } from '../../../oci/media-types.ts';
import type { Platform } from '../../../platform/platform.ts';
import { anyToWire, typeNameOf, unpackAny } from '../../../wire/any.ts';
import {
  CheckpointOptionsSchema,
  OptionsSchema,
} from '../../../wire/gen/containerd/types/runc/options/oci_pb.js';
import type { ContentStore } from '../../content/content-store.ts';
import { tarOf } from '../../diff/compare.ts';
import { LayerApplier } from '../../diff/layer-applier.ts';
import type { Bundle } from './bundle.ts';

export interface CheckpointDependencies {
  readonly content: ContentStore;
  readonly platform: Platform;
}

/** Says that a descriptor's bytes lie unpacked in a directory of the machine already. */
const restoreFromPath = 'RestoreFromPath';

const workOf = (bundle: Bundle): string => join(bundle.path, 'work');

/** Where the options of a checkpoint want the dump; "" for the content store. Errors: InvalidArgument. */
export const checkpointPath = (options: AnyValue | undefined): string =>
  options !== undefined && typeNameOf(options) === CheckpointOptionsSchema.typeName
    ? unpackAny(CheckpointOptionsSchema, options).imagePath
    : '';

/**
 * Has `dump` fill a directory, and keeps it with `spec` in the content store, under the lease of `ctx`. Returns the
 * descriptors of both. Errors: what `dump` throws; FailedPrecondition without a spec; those of the store.
 */
export async function saveCheckpoint(
  { content, platform }: CheckpointDependencies,
  ctx: NamespacedContext,
  {
    bundle,
    spec,
    dump,
  }: {
    readonly bundle: Bundle;
    readonly spec: AnyValue | undefined;
    readonly dump: (directory: string) => Promise<void>;
  },
): Promise<Descriptor[]> {
  if (spec === undefined) throw failedPrecondition(`container ${bundle.id} has no spec`);
  const directory = await mkdtemp(join(workOf(bundle), 'checkpoint-'));
  try {
    await dump(directory);
    const tree = { lower: undefined, upper: directory };
    const tar = tarOf(platform.files, tree, { signal: ctx.signal, sourceDateEpoch: undefined });
    const image = await writeBlob(content, ctx, mediaTypes.criuCheckpoint, tar);
    const config = [toBinary(AnySchema, anyToWire(spec))];
    return [image, await writeBlob(content, ctx, mediaTypes.checkpointConfig, config)];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function writeBlob(
  content: ContentStore,
  ctx: NamespacedContext,
  mediaType: string,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<Descriptor> {
  const ref = parseIngestRef(`checkpoint-${randomUUID()}`);
  try {
    await using writer = await content.writer(ctx, { ref });
    let sizeBytes = 0;
    for await (const chunk of chunks) {
      await writer.write(chunk);
      sizeBytes += chunk.length;
    }
    const digest = writer.digest();
    try {
      await writer.commit(ctx, { sizeBytes, expected: digest });
    } catch (error) {
      if (!hasCode(error, 'AlreadyExists')) throw error;
    }
    return { mediaType, digest, sizeBytes };
  } catch (error) {
    await content.abort(forCleanup(ctx, limits.cleanupMs), ref).catch(() => {});
    throw error;
  }
}

export interface RestoreRequest {
  readonly checkpoint: Descriptor | undefined;
  /** Of the task, not of the container: as containerd asks. */
  readonly options: AnyValue | undefined;
}

/**
 * Directory of the dump that a new task shall start from; "" for none. One of the content store is unpacked first.
 * Errors: Unknown for another media type and a blob that is not there, for NotFound would say that the container is
 * not; DataLoss (damaged blob), InvalidArgument (malformed or escaping archive).
 */
export async function prepareRestore(
  { content, platform }: CheckpointDependencies,
  ctx: NamespacedContext,
  bundle: Bundle,
  { checkpoint, options }: RestoreRequest,
): Promise<string> {
  if (options !== undefined && typeNameOf(options) === OptionsSchema.typeName) {
    const { criuImagePath } = unpackAny(OptionsSchema, options);
    if (criuImagePath !== '') return criuImagePath;
  }
  if (checkpoint === undefined) return '';
  const given = checkpoint.annotations?.[restoreFromPath];
  if (given !== undefined) return given;
  if (checkpoint.mediaType !== mediaTypes.criuCheckpoint)
    throw unknown(`unsupported checkpoint type ${JSON.stringify(checkpoint.mediaType)}`);
  const directory = join(workOf(bundle), 'restore');
  await mkdir(directory, { mode: 0o700 });
  try {
    await unpack({ content, platform }, ctx, checkpoint, directory);
  } catch (error) {
    if (hasCode(error, 'NotFound')) throw unknown(`content digest ${checkpoint.digest}: not found`, error);
    throw wrap(`unpack checkpoint ${checkpoint.digest}`, error);
  }
  return directory;
}

async function unpack(
  { content, platform }: CheckpointDependencies,
  ctx: NamespacedContext,
  { digest }: Descriptor,
  directory: string,
): Promise<void> {
  await using reader = await content.open(ctx, digest);
  await using applier = new LayerApplier({ platform, log: ctx.log }, { tempRoot: directory });
  const source = { open: (signal: AbortSignal) => reader.stream({ signal }), compression: 'none' } as const;
  const mounts = [{ type: 'bind', source: directory, target: '', options: ['rbind', 'rw'] }];
  const { diffId } = await applier.apply(source, mounts, { signal: ctx.signal });
  // The archive is not compressed, so its own digest is that of the blob.
  if (diffId !== digest) throw dataLoss(`blob ${digest} is damaged on disk: take the checkpoint again`);
}
