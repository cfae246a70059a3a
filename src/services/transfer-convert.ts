/** Wire forms of what a transfer goes from and to, and its two side streams: progress out, credentials in. */
import { raceSignal } from '../base/bounded-wait.ts';
import type { NamespacedContext } from '../base/context.ts';
import { checkSignal } from '../base/context.ts';
import { type Deferred, deferred } from '../base/deferred.ts';
import { limits } from '../base/limits.ts';
import { receiveBytes, sendBytes } from '../core/streaming/binary-stream.ts';
import type { StreamManager, ValueStream } from '../core/streaming/stream-manager.ts';
import type {
  CredentialSource,
  Credentials,
  ImageDestination,
  ProgressSink,
  RegistryEndpoint,
  TransferProgress,
} from '../core/transfer/transfer.ts';
import type { ArchiveDestination, ArchiveSource } from '../core/transfer/transfer-archive.ts';
import { hostPlatform, normalisePlatform, type Platform } from '../oci/platform.ts';
import { packAny, unpackAny } from '../wire/any.ts';
import { descriptorToWire } from '../wire/convert.ts';
import type { Platform as WirePlatform } from '../wire/gen/containerd/types/platform_pb.js';
import type { ImageStore } from '../wire/gen/containerd/types/transfer/imagestore_pb.js';
import type {
  ImageExportStream,
  ImageImportStream,
} from '../wire/gen/containerd/types/transfer/importexport_pb.js';
import { ProgressSchema } from '../wire/gen/containerd/types/transfer/progress_pb.js';
import {
  AuthRequestSchema,
  type AuthResponse,
  AuthResponseSchema,
  AuthType,
  type OCIRegistry,
} from '../wire/gen/containerd/types/transfer/registry_pb.js';

export function endpointFromWire(
  ctx: NamespacedContext,
  streams: StreamManager,
  { reference, resolver }: OCIRegistry,
): RegistryEndpoint {
  if (resolver === undefined) return { reference };
  const { authStream, headers, hostDir, defaultScheme } = resolver;
  return {
    reference,
    headers,
    ...(hostDir !== '' && { hostsDir: hostDir }),
    ...((defaultScheme === 'http' || defaultScheme === 'https') && { defaultScheme }),
    ...(authStream !== '' && { credentials: askClient(ctx, streams.get(ctx.namespace, authStream)) }),
  };
}

/** Of a client that names none, as containerd has it on Linux. */
const defaultSnapshotter = 'overlayfs';

export const imageStoreFromWire = (store: ImageStore): ImageDestination => ({
  name: store.name,
  labels: store.labels,
  platforms: store.platforms.map(platformFromWire),
  allMetadata: store.allMetadata,
  manifestLimit: store.manifestLimit,
  extraReferences: store.extraReferences,
  unpacks: store.unpacks.map(({ platform, snapshotter }) => ({
    platform: platform === undefined ? hostPlatform() : platformFromWire(platform),
    snapshotter: snapshotter === '' ? defaultSnapshotter : snapshotter,
  })),
});

export const importFromWire = (
  ctx: NamespacedContext,
  streams: StreamManager,
  { stream, forceCompress }: ImageImportStream,
): ArchiveSource => ({ bytes: receiveBytes(streams.get(ctx.namespace, stream), ctx), forceCompress });

export function exportFromWire(
  ctx: NamespacedContext,
  streams: StreamManager,
  wire: ImageExportStream,
): ArchiveDestination {
  const stream = streams.get(ctx.namespace, wire.stream);
  return {
    write: (bytes) => sendBytes(stream, bytes, ctx),
    platforms: wire.platforms.map(platformFromWire),
    allPlatforms: wire.allPlatforms,
    skipCompatibilityManifest: wire.skipCompatibilityManifest,
    skipNonDistributable: wire.skipNonDistributable,
  };
}

const platformFromWire = ({ os, architecture, variant, osVersion, osFeatures }: WirePlatform): Platform =>
  normalisePlatform({
    os,
    architecture,
    ...(variant !== '' && { variant }),
    ...(osVersion !== '' && { osVersion }),
    ...(osFeatures.length > 0 && { osFeatures }),
  });

/** The client is asked over its stream, one question at a time. */
function askClient(ctx: NamespacedContext, stream: ValueStream): CredentialSource {
  let turn: Promise<unknown> = Promise.resolve();
  return ({ host, reference, challenges }) => {
    const answer = turn.then(async () => {
      await stream.send(packAny(AuthRequestSchema, { host, reference, wwwauthenticate: [...challenges] }));
      // A client that never answers must not keep a call that was given up.
      const value = await raceSignal(stream.receive(), ctx.signal);
      return value === undefined
        ? ({ kind: 'none' } as const)
        : credentialsOf(unpackAny(AuthResponseSchema, value));
    });
    turn = answer.catch(() => {});
    return answer;
  };
}

function credentialsOf({ authType, secret, username }: AuthResponse): Credentials {
  switch (authType) {
    case AuthType.CREDENTIALS:
      return { kind: 'basic', username, secret };
    case AuthType.REFRESH:
      return { kind: 'refresh', token: secret };
    case AuthType.HEADER:
      return { kind: 'header', value: secret };
    case AuthType.NONE:
    default:
      return { kind: 'none' };
  }
}

/** Where progress goes. Disposing sends what waits, as far as the client takes it in time, and ends the stream. */
export interface ProgressStream extends AsyncDisposable {
  readonly sink: ProgressSink;
}

/**
 * The transfer never waits for a slow watcher: what has not been sent when a newer report of the same object comes is
 * replaced by it. `id` "" is nobody. Errors: NotFound (stream).
 */
export function progressStream(ctx: NamespacedContext, streams: StreamManager, id: string): ProgressStream {
  if (id === '') return { sink: () => {}, [Symbol.asyncDispose]: async () => {} };
  const stream = streams.get(ctx.namespace, id);
  const waiting = new Map<string, TransferProgress>();
  let wake: Deferred | undefined;
  const state = { ended: false };
  const sending = (async (): Promise<void> => {
    while (!state.ended || waiting.size > 0) {
      const [next] = waiting;
      if (next === undefined) {
        wake = deferred();
        await wake.promise;
        continue;
      }
      waiting.delete(next[0]);
      checkSignal(ctx.signal);
      await stream.send(progressToWire(next[1]));
    }
  })().catch(() => waiting.clear());
  return {
    sink: (progress) => {
      waiting.set(`${progress.event} ${progress.name}`, progress);
      wake?.resolve();
    },
    [Symbol.asyncDispose]: async () => {
      state.ended = true;
      wake?.resolve();
      const ended = sending.then(() => stream.close());
      const patience = AbortSignal.any([ctx.signal, AbortSignal.timeout(limits.progressLingerMs)]);
      try {
        await raceSignal(ended, patience);
      } catch {
        // Shuts at once, and ends when the client takes the rest or leaves.
        void stream.close();
      }
    },
  };
}

const progressToWire = ({ event, name, parents, progress, total, descriptor }: TransferProgress) =>
  packAny(ProgressSchema, {
    event,
    name,
    parents: [...parents],
    progress: BigInt(progress),
    total: BigInt(total),
    ...(descriptor !== undefined && { desc: descriptorToWire(descriptor) }),
  });
