/** Which event types this client can read. */
import { createRegistry, fromBinary, toJson } from '@bufbuild/protobuf';
import type { AnyValue } from '../base/any-value.ts';
import { file_containerd_events_container } from '../wire/gen/containerd/events/container_pb.js';
import { file_containerd_events_content } from '../wire/gen/containerd/events/content_pb.js';
import { file_containerd_events_image } from '../wire/gen/containerd/events/image_pb.js';
import { file_containerd_events_namespace } from '../wire/gen/containerd/events/namespace_pb.js';
import { file_containerd_events_sandbox } from '../wire/gen/containerd/events/sandbox_pb.js';
import { file_containerd_events_snapshot } from '../wire/gen/containerd/events/snapshot_pb.js';
import { file_containerd_events_task } from '../wire/gen/containerd/events/task_pb.js';
import { file_containerd_types_runc_options_oci } from '../wire/gen/containerd/types/runc/options/oci_pb.js';
import { file_gantry_runtime_v1_runtime } from '../wire/gen/gantry/runtime/v1/runtime_pb.js';

const registry = createRegistry(
  file_containerd_events_container,
  file_containerd_events_content,
  file_containerd_events_image,
  file_containerd_events_namespace,
  file_containerd_events_sandbox,
  file_containerd_events_snapshot,
  file_containerd_events_task,
  // Container events carry the runtime's options.
  file_containerd_types_runc_options_oci,
  file_gantry_runtime_v1_runtime,
);

/** undefined for a type that is not known, or bytes that do not parse. */
export function decodeEvent(event: AnyValue): Readonly<Record<string, unknown>> | undefined {
  const schema = registry.getMessage(event.typeUrl.slice(event.typeUrl.lastIndexOf('/') + 1));
  if (schema === undefined) return undefined;
  try {
    const message = fromBinary(schema, event.value);
    return toJson(schema, message, { registry }) as Record<string, unknown>;
  } catch {
    // An Any inside of an unknown type has no JSON form: the bytes are still there.
    return undefined;
  }
}
