/**
 * Every bound of the house, in one place, with its reason. Units stand last in the name.
 * What is configurable takes its default from here.
 */
export const limits = {
  /** containerd's identifier length; keeps ids usable as path components and labels. */
  identifierBytes: 76,
  /** Key plus value of one label. */
  labelBytes: 4096,
  /** gRPC message, each way; containerd's default, which clients rely on for large lists. */
  grpcMessageBytes: 16 * 1024 * 1024,
  /** ttrpc frame payload by its protocol. */
  ttrpcMessageBytes: 4 * 1024 * 1024,
  /** Unary ttrpc calls that one connection may have in flight before it is told to wait. */
  ttrpcInFlight: 4096,
  /** One chunk of a content read reply. */
  contentReadChunkBytes: 1024 * 1024,
  /** Infos in one block of a content or snapshot list. */
  listBlock: 100,
  /** A manifest, index or image config is read whole into memory. */
  manifestBytes: 8 * 1024 * 1024,
  /** Depth of an index in an index in a pull or a check. */
  indexDepth: 8,
  /** A token or error body of a registry. */
  registryBodyBytes: 1024 * 1024,
  /** Redirects followed for one registry request. */
  registryRedirects: 10,
  /** An ingest that was made without a lease. */
  ingestExpiryMs: 24 * 60 * 60 * 1000,
  /** Path of one tar entry (Linux PATH_MAX) and the extended headers that may carry it. */
  tarPathBytes: 4096,
  tarHeaderBytes: 1024 * 1024,
  /** Time that clean-up of a failed step may take under its own signal. */
  cleanupMs: 10_000,
  /** Time-outs of containerd for its shims. */
  shimLoadMs: 5_000,
  shimCleanupMs: 5_000,
  shimShutdownMs: 3_000,
  shimStartMs: 10_000,
  taskStateMs: 2_000,
  /** Events of a shim that wait for the daemon to come back. */
  shimEventQueue: 2048,
  /** What a log binary may take to end after SIGTERM. */
  logBinaryTermMs: 12_000,
} as const;
