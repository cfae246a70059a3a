/** gantry.check.v1: the database against the disk. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import { invalidArgument } from '../base/errors.ts';
import { type DigestMode, digestModes } from '../core/check/digest-sample.ts';
import type { CheckEvent, CheckRequest, StoreChecker } from '../core/check/store-checker.ts';
import { Check, type RunRequest, type RunResponseSchema } from '../wire/gen/gantry/check/v1/check_pb.js';
import { type ServedService, serve } from '../wire/service.ts';

export interface CheckServiceDependencies {
  readonly checker: StoreChecker;
}

export const checkService = ({ checker }: CheckServiceDependencies): ServedService =>
  serve(Check, {
    async *run(ctx, request) {
      for await (const event of checker.check(ctx, requestFromWire(request))) yield eventToWire(event);
    },
  });

/** Errors: InvalidArgument (digests). */
function requestFromWire({ digests, seed, repair, plainHttp }: RunRequest): CheckRequest {
  return {
    digests: digestMode(digests),
    seed,
    repair,
    ...(plainHttp && { defaultScheme: 'http' as const }),
  };
}

/** Errors: InvalidArgument. */
function digestMode(text: string): DigestMode {
  const mode = digestModes.find((word) => word === (text || 'sample'));
  if (mode === undefined)
    throw invalidArgument(`digests must be one of ${digestModes.join(', ')}, not ${JSON.stringify(text)}`);
  return mode;
}

export function eventToWire(event: CheckEvent): MessageInitShape<typeof RunResponseSchema> {
  if ('phase' in event) return { content: { case: 'phase', value: event.phase } };
  if ('finding' in event) {
    const { breaks, ...finding } = event.finding;
    return { content: { case: 'finding', value: { ...finding, breaks: [...breaks] } } };
  }
  const { counts, left, repaired, notices } = event.summary;
  return {
    content: {
      case: 'summary',
      value: {
        left,
        repaired,
        notices,
        blobs: BigInt(counts.blobs),
        blobBytes: BigInt(counts.blobBytes),
        hashedBlobs: BigInt(counts.hashedBlobs),
        hashedBytes: BigInt(counts.hashedBytes),
        ingests: BigInt(counts.ingests),
        snapshots: BigInt(counts.snapshots),
        images: BigInt(counts.images),
        containers: BigInt(counts.containers),
        leases: BigInt(counts.leases),
      },
    },
  };
}
