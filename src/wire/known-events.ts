/** The event messages that containerd defines, found by their names: what filters can look into. */
import { createRegistry, type DescMessage, fromBinary, type Message } from '@bufbuild/protobuf';
import type { AnyValue } from '../base/any-value.ts';
import { typeNameOf } from './any.ts';
import { file_containerd_events_container } from './gen/containerd/events/container_pb.js';
import { file_containerd_events_content } from './gen/containerd/events/content_pb.js';
import { file_containerd_events_image } from './gen/containerd/events/image_pb.js';
import { file_containerd_events_namespace } from './gen/containerd/events/namespace_pb.js';
import { file_containerd_events_sandbox } from './gen/containerd/events/sandbox_pb.js';
import { file_containerd_events_snapshot } from './gen/containerd/events/snapshot_pb.js';
import { file_containerd_events_task } from './gen/containerd/events/task_pb.js';

const registry = createRegistry(
  file_containerd_events_container,
  file_containerd_events_content,
  file_containerd_events_image,
  file_containerd_events_namespace,
  file_containerd_events_sandbox,
  file_containerd_events_snapshot,
  file_containerd_events_task,
);

export interface KnownEvent {
  readonly schema: DescMessage;
  readonly message: Message;
}

/** Undefined for a type that is not containerd's, and for bytes that do not decode. */
export function decodeEvent(event: AnyValue): KnownEvent | undefined {
  const schema = registry.getMessage(typeNameOf(event));
  if (schema === undefined) return undefined;
  try {
    return { schema, message: fromBinary(schema, event.value) };
  } catch {
    return undefined;
  }
}

/**
 * The text at a path of proto field names, as filters see it: strings that are not empty, booleans, and values of
 * string maps (the rest of the path is the key). Numbers and bytes are not visible, as in containerd.
 */
export function eventField({ schema, message }: KnownEvent, path: readonly string[]): string | undefined {
  const [name, ...rest] = path;
  const field = schema.fields.find((candidate) => candidate.name === name);
  if (field === undefined) return undefined;
  const value = (message as unknown as Readonly<Record<string, unknown>>)[field.localName];
  if (field.fieldKind === 'message' && value !== undefined)
    return eventField({ schema: field.message, message: value as Message }, rest);
  if (field.fieldKind === 'map') {
    const map = value as Readonly<Record<string, unknown>>;
    const key = rest.join('.');
    return Object.hasOwn(map, key) && typeof map[key] === 'string' ? map[key] : undefined;
  }
  if (typeof value === 'boolean') return String(value);
  return typeof value === 'string' && value !== '' ? value : undefined;
}
