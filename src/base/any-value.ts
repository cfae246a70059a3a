/** A protobuf Any that is kept as it came: values of unknown types pass through untouched. */
export interface AnyValue {
  /** Message name without a host prefix, or a path-like URL of a JSON value (`types.containerd.io/…`). */
  readonly typeUrl: string;
  readonly value: Uint8Array;
}
