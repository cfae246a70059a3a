/** `gantryd publish`: how shims of old send an event home. */
import { fromBinary } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { invalidArgument } from '../../base/errors.ts';
import { parseNamespace } from '../../base/identifiers.ts';
import { limits } from '../../base/limits.ts';
import { now } from '../../base/time.ts';
import { Events } from '../../wire/gen/containerd/services/events/v1/events_pb.js';
import { connectGrpc } from '../../wire/grpc/client.ts';
import { timestampOf } from '../../wire/timestamps.ts';
import { type CommandLine, Configuration } from '../config/daemon-config.ts';

export interface PublishOptions {
  readonly topic: string;
  readonly namespace?: string;
}

/** Errors: InvalidArgument (no Any on standard input), those of Forward. */
export async function publish(commandLine: CommandLine, options: PublishOptions): Promise<void> {
  const namespace = parseNamespace(options.namespace ?? process.env['CONTAINERD_NAMESPACE'] ?? 'default');
  const event = await readEvent(process.stdin);
  const { address } = new Configuration(commandLine);
  await using connection = connectGrpc(address);
  await connection
    .client(Events)
    .forward(
      { envelope: { timestamp: timestampOf(now()), namespace, topic: options.topic, event } },
      { timeoutMs: limits.eventForwardMs },
    );
}

async function readEvent(
  input: AsyncIterable<Buffer>,
): Promise<ReturnType<typeof fromBinary<typeof AnySchema>>> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of input) {
    sizeBytes += chunk.length;
    if (sizeBytes > limits.grpcMessageBytes)
      throw invalidArgument(`the event is larger than ${limits.grpcMessageBytes} bytes`);
    chunks.push(chunk);
  }
  try {
    return fromBinary(AnySchema, Buffer.concat(chunks));
  } catch (error) {
    throw invalidArgument('standard input must be a serialized google.protobuf.Any', error);
  }
}
