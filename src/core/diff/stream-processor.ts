/**
 * Stream processors: programs that make layers of one media type into another, as decryption does. Which of them a layer
 * goes through follows from its media type: one after the other until a plain tar or a type that we read ourselves comes
 * out.
 *
 * They go before what we read ourselves. Of several that accept a type the last in the configuration is taken, where
 * containerd takes any.
 */
import { failedPrecondition } from '../../base/errors.ts';
import { limits } from '../../base/limits.ts';
import { ociLayer } from './layer-media-type.ts';

export interface StreamProcessor {
  readonly id: string;
  /** Media types. */
  readonly accepts: readonly string[];
  /** Media type of what it makes of them. */
  readonly returns: string;
  /** A path, or a name on the PATH of the daemon. */
  readonly path: string;
  readonly args: readonly string[];
  /** Beside the daemon's own environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** One program on the way of a layer, and the media type that it is given. */
export interface ProcessingStep {
  readonly processor: StreamProcessor;
  readonly mediaType: string;
}

export interface Processing {
  /** In their order; none for a layer that needs none. */
  readonly steps: readonly ProcessingStep[];
  /** Of what comes out. */
  readonly mediaType: string;
}

/** Errors: FailedPrecondition when the programs hand a layer on in a circle. */
export function processingOf(processors: readonly StreamProcessor[], mediaType: string): Processing {
  const steps: ProcessingStep[] = [];
  for (let current = mediaType; ; ) {
    const processor = processors.findLast(({ accepts }) => accepts.includes(current));
    if (processor === undefined) return { steps, mediaType: current };
    steps.push({ processor, mediaType: current });
    current = processor.returns;
    // A tar is what is wanted: one that takes tars is asked about a layer only, not about what another has made.
    if (current === ociLayer) return { steps, mediaType: current };
    if (steps.length > limits.streamProcessors)
      throw failedPrecondition(
        `stream processors hand a layer of type ${JSON.stringify(mediaType)} on in a circle, the last is ${processor.id}: correct accepts and returns in stream_processors`,
      );
  }
}
