/**
 * containerd.services.transfer.v1: what a transfer does follows from its source and destination.
 *
 *   OCIRegistry → ImageStore        pull      ImageStore → OCIRegistry   push
 *   ImageImportStream → ImageStore  import    ImageStore → ImageStore    tag
 *   ImageStore → ImageExportStream  export    anything else              Unimplemented
 */
import type { AnyValue } from '../base/any-value.ts';
import { requireNamespace } from '../base/context.ts';
import { unimplemented } from '../base/errors.ts';
import type { StreamManager } from '../core/streaming/stream-manager.ts';
import type { ImageTransfers } from '../core/transfer/image-transfers.ts';
import { anyFromWire, typeNameOf, unpackAny } from '../wire/any.ts';
import { Transfer } from '../wire/gen/containerd/services/transfer/v1/transfer_pb.js';
import { ImageStoreSchema } from '../wire/gen/containerd/types/transfer/imagestore_pb.js';
import {
  ImageExportStreamSchema,
  ImageImportStreamSchema,
} from '../wire/gen/containerd/types/transfer/importexport_pb.js';
import { OCIRegistrySchema } from '../wire/gen/containerd/types/transfer/registry_pb.js';
import { type ServedService, serve } from '../wire/service.ts';
import { required } from './convert.ts';
import {
  endpointFromWire,
  exportFromWire,
  imageStoreFromWire,
  importFromWire,
  progressStream,
} from './transfer-convert.ts';

export interface TransferServiceDependencies {
  readonly transfers: ImageTransfers;
  readonly streams: StreamManager;
}

export const transferService = ({ transfers, streams }: TransferServiceDependencies): ServedService =>
  serve(Transfer, {
    transfer: async (context, request) => {
      const ctx = requireNamespace(context);
      const source = required(anyFromWire(request.source), 'source');
      const destination = required(anyFromWire(request.destination), 'destination');
      await using progress = progressStream(ctx, streams, request.options?.progressStream ?? '');
      const registry = (value: AnyValue) =>
        endpointFromWire(ctx, streams, unpackAny(OCIRegistrySchema, value));
      const store = (value: AnyValue) => imageStoreFromWire(unpackAny(ImageStoreSchema, value));
      switch (`${kindOf(source)} to ${kindOf(destination)}`) {
        case 'registry to store':
          await transfers.tracked('pull', () =>
            transfers.puller.pull(ctx, registry(source), store(destination), progress.sink),
          );
          return {};
        case 'store to registry':
          await transfers.tracked('push', () =>
            transfers.pusher.push(ctx, store(source), registry(destination), progress.sink),
          );
          return {};
        case 'store to store':
          await transfers.tracked('tag', () => transfers.tag(ctx, store(source).name, store(destination)));
          return {};
        case 'import to store': {
          const archive = importFromWire(ctx, streams, unpackAny(ImageImportStreamSchema, source));
          await transfers.tracked('import', () =>
            transfers.importer.import(ctx, archive, store(destination), progress.sink),
          );
          return {};
        }
        case 'store to export': {
          const archive = exportFromWire(ctx, streams, unpackAny(ImageExportStreamSchema, destination));
          await transfers.tracked('export', () =>
            transfers.exporter.export(ctx, store(source), archive, progress.sink),
          );
          return {};
        }
        default:
          throw unimplemented(
            `method Transfer not implemented for ${typeNameOf(source)} to ${typeNameOf(destination)}`,
          );
      }
    },
  });

type Kind = 'registry' | 'store' | 'import' | 'export' | 'other';

const kinds: Readonly<Record<string, Kind>> = {
  [OCIRegistrySchema.typeName]: 'registry',
  [ImageStoreSchema.typeName]: 'store',
  [ImageImportStreamSchema.typeName]: 'import',
  [ImageExportStreamSchema.typeName]: 'export',
};

const kindOf = (value: AnyValue): Kind => kinds[typeNameOf(value)] ?? 'other';
