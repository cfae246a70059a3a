/**
 * A pull by the daemon's transfer service: the daemon resolves, fetches and unpacks; we watch.
 *
 * It starts with the first iteration (or with `image()`), and ends when the loop is left or the signal fires: the
 * daemon then gives up, and keeps what it has fetched until its garbage collection.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { AnyValue } from '../base/any-value.ts';
import { hasCode, wrap } from '../base/errors.ts';
import { limits } from '../base/limits.ts';
import type { Image } from '../core/images/image-store.ts';
import type { Credentials, TransferProgress } from '../core/transfer/transfer.ts';
import { hostPlatform, type Platform } from '../oci/platform.ts';
import { anyToWire, packAny, typeNameOf, unpackAny } from '../wire/any.ts';
import { Transfer } from '../wire/gen/containerd/services/transfer/v1/transfer_pb.js';
import { ImageStoreSchema } from '../wire/gen/containerd/types/transfer/imagestore_pb.js';
import { ProgressSchema } from '../wire/gen/containerd/types/transfer/progress_pb.js';
import {
  AuthRequestSchema,
  AuthResponseSchema,
  AuthType,
  OCIRegistrySchema,
} from '../wire/gen/containerd/types/transfer/registry_pb.js';
import { descriptorOf } from './convert.ts';
import type { Call, Scope } from './scope.ts';
import { type DaemonStream, openStream } from './streams.ts';

export interface PullOptions extends Call {
  /** This machine's when absent. */
  readonly platform?: Platform;
  /** Snapshotter to unpack into; `false` only fetches. */
  readonly snapshotter: string | false;
  /** Asked when the registry wants to know who we are; anonymous when absent. */
  readonly credentials?: (request: { host: string; reference: string }) => Promise<Credentials>;
  /** `http` for a registry without TLS. */
  readonly scheme?: 'http' | 'https';
  /** A directory of hosts.toml directories, on the daemon's machine; the daemon's configured one when absent. */
  readonly hostsDir?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Iterate for progress, then ask for the image; or only ask. Good for one use. */
export class Pull implements AsyncIterable<TransferProgress> {
  readonly #scope: Scope;
  readonly #getImage: () => Promise<Image>;
  readonly #reference: string;
  readonly #options: PullOptions;
  #done = false;

  constructor(
    { scope, getImage }: { scope: Scope; getImage: () => Promise<Image> },
    { reference, ...options }: PullOptions & { reference: string },
  ) {
    this.#scope = scope;
    this.#getImage = getImage;
    this.#reference = reference;
    this.#options = options;
  }

  /** The image pulled. Errors: those of the pull; NotFound, Unauthenticated, Unavailable, FailedPrecondition. */
  async image(): Promise<Image> {
    if (!this.#done) for await (const _ of this) continue;
    return await this.#getImage();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TransferProgress, void> {
    const scope = this.#scope;
    const aborter = new AbortController();
    const outer = this.#options.signal;
    const signal = outer === undefined ? aborter.signal : AbortSignal.any([outer, aborter.signal]);
    await using progress = await openStream(scope, 'progress', { signal });
    const auth =
      this.#options.credentials === undefined ? undefined : await openStream(scope, 'auth', { signal });
    let timer: NodeJS.Timeout | undefined;
    try {
      const answering = auth === undefined ? undefined : this.#answer(auth);
      const transferring = this.#transfer(progress.id, auth?.id ?? '', signal);
      // The daemon ends the progress stream once it has sent what is left; should it not, we do.
      void transferring
        .finally(() => (timer = setTimeout(() => aborter.abort(), limits.progressTailMs)))
        .catch(() => {});
      transferring.catch(() => undefined);
      answering?.catch(() => undefined);
      yield* progressOf(progress.received);
      await transferring;
      this.#done = true;
    } catch (error) {
      throw wrap(`pull ${this.#reference}`, error);
    } finally {
      clearTimeout(timer);
      aborter.abort();
      await auth?.[Symbol.asyncDispose]();
    }
  }

  async #transfer(progressStream: string, authStream: string, signal: AbortSignal): Promise<void> {
    const { hostsDir = '', scheme = '', labels = {}, snapshotter } = this.#options;
    // None would mean all of them.
    const { osFeatures = [], ...rest } = this.#options.platform ?? hostPlatform();
    const platform = { ...rest, osFeatures: [...osFeatures] };
    const source = packAny(OCIRegistrySchema, {
      reference: this.#reference,
      resolver: { authStream, hostDir: hostsDir, defaultScheme: scheme },
    });
    const destination = packAny(ImageStoreSchema, {
      name: this.#reference,
      labels: { ...labels },
      platforms: [platform],
      // Makes it an error that the image has none for it.
      manifestLimit: 1,
      unpacks: snapshotter === false ? [] : [{ snapshotter, platform }],
    });
    await this.#scope
      .client(Transfer)
      .transfer(
        { source: anyToWire(source), destination: anyToWire(destination), options: { progressStream } },
        this.#scope.options({ ...this.#options, signal }),
      );
  }

  async #answer(stream: DaemonStream): Promise<void> {
    for await (const value of stream.received) {
      if (typeNameOf(value) !== AuthRequestSchema.typeName) continue;
      const { host, reference } = unpackAny(AuthRequestSchema, value);
      const credentials = (await this.#options.credentials?.({ host, reference })) ?? { kind: 'none' };
      stream.send(packAny(AuthResponseSchema, authResponseOf(credentials)));
    }
  }
}

function authResponseOf(credentials: Credentials): MessageInitShape<typeof AuthResponseSchema> {
  if (credentials.kind === 'none') return { authType: AuthType.NONE };
  if (credentials.kind === 'basic')
    return { authType: AuthType.CREDENTIALS, username: credentials.username, secret: credentials.secret };
  if (credentials.kind === 'refresh') return { authType: AuthType.REFRESH, secret: credentials.token };
  return { authType: AuthType.HEADER, secret: credentials.value };
}

/** Progress is a courtesy: a stream that breaks must not hide how the transfer itself ended. */
async function* progressOf(received: AsyncIterable<AnyValue>): AsyncGenerator<TransferProgress, void> {
  try {
    for await (const value of received) {
      if (typeNameOf(value) !== ProgressSchema.typeName) continue;
      const { event, name, parents, progress, total, desc } = unpackAny(ProgressSchema, value);
      yield {
        event,
        name,
        parents,
        progress: Number(progress),
        total: Number(total),
        ...(desc === undefined || desc.digest === '' ? {} : { descriptor: descriptorOf(desc) }),
      };
    }
  } catch (error) {
    if (!hasCode(error, 'Canceled') && !hasCode(error, 'Unavailable')) throw error;
  }
}
