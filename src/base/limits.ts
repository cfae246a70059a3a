/**
 * Every bound of the house, in one place, with its reason, by the layer that keeps it. Units stand last in the name.
 * What is configurable takes its default from here.
 */
export const limits = {
  // Words that all layers use: names, filters, time for clean-up
  /** containerd's identifier length; keeps ids usable as path components and labels. */
  identifierBytes: 76,
  /** One filter string of a list or a subscription, and the compiled size of a regular expression in it. */
  filterBytes: 64 * 1024,
  regExpInstructions: 2_000,
  /** Key plus value of one label. */
  labelBytes: 4096,
  /** An image reference: name (255 by the distribution spec), host, tag and digest. */
  referenceBytes: 1024,
  /** Time that clean-up of a failed step may take under its own signal. */
  cleanupMs: 10_000,
  /** RE2's own bound on `{n,m}`, and a bound on nesting, which recursion needs. */
  regExpRepeat: 1000,
  regExpDepth: 200,

  // platform: the system
  /** Exits of children that nobody has asked for yet. */
  rememberedExits: 4096,
  /** What the parent of a foreign process may take to reap it, before its status counts as lost. */
  foreignReapMs: 3_000,
  /** Descriptors in one SCM_RIGHTS message (the kernel's SCM_MAX_FD). */
  passedDescriptors: 253,
  /** What a busy mount may take to become free before unmount reports it. */
  unmountRetryMs: 100,
  /** What a command run to its end may print on one stream before it is cut. */
  commandOutputBytes: 16 * 1024 * 1024,

  // wire: gRPC and ttrpc
  /** gRPC message, each way; containerd's default, which clients rely on for large lists. */
  grpcMessageBytes: 16 * 1024 * 1024,
  /** What a gRPC client may send ahead of the reader, in one call and in one connection. */
  grpcStreamWindowBytes: 1024 * 1024,
  grpcSessionWindowBytes: 4 * 1024 * 1024,
  /** What one connection may hold in memory; past that it gets no new calls. */
  grpcSessionMegabytes: 512,
  /** Calls that a connection may give up in a second. */
  grpcStreamResets: 1_000_000,
  /** What calls that were told to leave at a shutdown have left to say so, before their connections are cut. */
  grpcAbandonMs: 250,
  /** ttrpc frame payload by its protocol. */
  ttrpcMessageBytes: 4 * 1024 * 1024,
  /** Messages and bytes of one ttrpc stream that nobody has read yet; then the connection is not read either… */
  ttrpcStreamQueue: 64,
  ttrpcStreamQueueBytes: 4 * 1024 * 1024,
  /** …for this long, so that the calls beside it go on: then the stream fails. */
  ttrpcStallMs: 1000,
  /** Unary ttrpc calls that one connection may have in flight before it is told to wait. */
  ttrpcInFlight: 4096,
  /** What calls may take to end by themselves when the daemon stops. */
  serverStopMs: 1_000,
  /** What a server may send our client ahead; Node's 64 KiB makes a local socket wait for window updates. */
  grpcFlowWindowBytes: 1024 * 1024,
  /** Bytes of a header block that every client takes; a longer message is cut, and its details stay away. */
  grpcStatusTextBytes: 16 * 1024,

  // core: content, snapshots and layers
  /** One chunk of a content read reply. */
  contentReadChunkBytes: 1024 * 1024,
  /** Infos in one block of a content or snapshot list. */
  listBlock: 100,
  /** A manifest, index or image config is read whole into memory. */
  manifestBytes: 8 * 1024 * 1024,
  /** Layers of one manifest, or manifests of one index. */
  manifestEntries: 4096,
  /** Manifests and indexes of one image, all levels together. */
  imageDocuments: 10_000,
  /** Depth of an index in an index in a pull or a check. */
  indexDepth: 8,
  /** An ingest that was made without a lease. */
  ingestExpiryMs: 24 * 60 * 60 * 1000,
  /** Path of one tar entry (Linux PATH_MAX) and the extended headers that may carry it. */
  tarPathBytes: 4096,
  tarHeaderBytes: 1024 * 1024,
  /** Segments of one sparse file in a tar archive: what the map may take in memory. */
  tarSparseSegments: 100_000,
  /** JavaScript heap of the worker that unpacks one layer: room for about a million entries. */
  applyWorkerHeapMb: 512,
  /** Age below which a check takes a bundle without a task for one that is being made. */
  checkGraceMs: 60_000,
  /** What a collection gives a proxy snapshotter to free what is garbage there; the rest is for the next one. */
  proxyPruneMs: 60_000,
  /** Files in an archive of images that is imported. */
  archiveFiles: 100_000,
  /** Layers that are unpacked side by side, even on one core: they also wait for the network. */
  minApplyWorkers: 4,
  /** How long a spare apply worker is kept after the last layer. */
  spareApplyWorkerMs: 10_000,

  // core: registries and transfers
  /** A token or error body of a registry. */
  registryBodyBytes: 1024 * 1024,
  /** Redirects followed for one registry request. */
  registryRedirects: 10,
  /** Tries of one registry request that fails by 429, 5xx or a lost connection, and the waits between them. */
  registryAttempts: 5,
  registryBackoffMs: 250,
  registryBackoffMaxMs: 15_000,
  /** What a download must have gained before it was cut, for its tries to be counted anew. */
  registryProgressBytes: 1024 * 1024,
  /** A Retry-After beyond this is an error at once: nobody waits that long in a pull. */
  registryRetryAfterMaxMs: 60_000,
  /** TCP and TLS to a registry; hosts.toml may say otherwise. */
  registryDialMs: 30_000,
  /** Silence of a registry before its answer, or within a body, that counts as a lost connection. */
  registryStallMs: 60_000,
  /** Connections to one host. */
  registryConnections: 32,
  /** A hosts.toml file or a certificate beside it. */
  registryConfigBytes: 1024 * 1024,
  /** Waits for a blob that somebody else is writing into the content store. */
  lockedIngestMs: 10,
  lockedIngestMaxMs: 1000,
  /** A transfer's lease, should the daemon die in between; containerd's own figure. */
  transferLeaseMs: 24 * 60 * 60 * 1000,
  /** How long the answer to a transfer waits for a client that is slow to take its last progress. */
  progressLingerMs: 2_000,
  /** Blobs that all pulls, and all pushes, have on their way at once; containerd's default. */
  concurrentTransfers: 3,
  /** A WWW-Authenticate header longer than this says nothing that we need. */
  challengeBytes: 16 * 1024,
  /** Steps of one resolution that are recorded: a push of thousands of layers would say nothing new. */
  tracedSteps: 1000,

  // core: programs of the operator's that are run beside the daemon
  /** Image verifiers that are asked about one image, and what each may take; containerd's defaults. */
  verifiers: 10,
  verifierMs: 10_000,
  /** What of the output of an image verifier is kept, on each stream; containerd's figure. */
  verifierOutputBytes: 32 * 1024,
  /** What of a stream processor's standard error is told, from its end. */
  processorErrorBytes: 8 * 1024,
  /** Stream processors that one layer goes through: more is a circle in the settings. */
  streamProcessors: 16,
  /** What is still in the pipes of a program that has ended; one that left children with them open is not waited for. */
  programDrainMs: 250,

  // core: streams and mounts
  /** Streams that clients hold open beside their calls, and the name of one. */
  streams: 4096,
  streamIdBytes: 1024,
  /** Credit that the receiver of a binary stream gives, and the most that one message of it but the last carries. */
  streamWindowBytes: 64 * 1024,
  streamMessageBytes: 32 * 1024,
  /** Wait for the receiver of a binary stream to say that it has the last byte; not all can say it. */
  streamSettleMs: 1000,
  /** Mounts in one activation, and one text of it: the lowerdir of an overlay of many layers is the longest. */
  activationMounts: 255,
  mountTextBytes: 256 * 1024,
  /** A file that `mkfs/` makes; it is sparse, so this is no promise of space. */
  mkfsBytes: 16 * 2 ** 40,
  /** Values of one stream that wait for the client; whoever sends more waits too. */
  streamQueue: 64,

  // core: tasks and their shims
  /** Time-outs of containerd for its shims. */
  shimLoadMs: 5_000,
  shimCleanupMs: 5_000,
  shimShutdownMs: 3_000,
  shimStartMs: 10_000,
  /** A shim that is asked what it is and what its runc can do. */
  runtimeInfoMs: 10_000,
  taskStateMs: 2_000,
  /** Calls into shims that have no time-out in containerd, and hang there. Hooks of a create or start may be slow. */
  taskStartMs: 120_000,
  taskKillMs: 10_000,
  taskDeleteMs: 30_000,
  taskChangeMs: 30_000,
  taskCheckpointMs: 600_000,
  /** What each step of an escalation is given to take effect. */
  escalationStepMs: 2_000,
  /** A shim that takes over the containers of another, until it is ready. */
  shimAdoptMs: 30_000,
  /** Starts of a shim before its containers are given up, and the pauses between them, each twice the last. */
  shimStarts: 4,
  shimStartPauseMs: 100,
  /** How often a restarted daemon asks for a container that its shim is just making. */
  heldPollMs: 20,
  /** Times that one call is repeated because the shim died under it. */
  shimCallRepeats: 8,
  /** What a caller that leaves during a create is kept for, so that nothing is left when it is answered. */
  createUndoMs: 1_000,
  /** Exits of one container's execs that are remembered, so that none is announced twice. */
  rememberedExecExits: 64,
  rememberedDeletions: 1024,
  /** Events of tasks that the next daemon is left a note of. */
  journalEvents: 2048,

  // core: events
  /** Events, and their bytes, that wait for one subscriber: containerd has no bound (docs/decisions/0040). */
  eventSubscriberQueue: 65_536,
  eventSubscriberBytes: 64 * 1024 * 1024,
  /** After the daemon's start, who subscribes hears what happened while it was away. containerd's shims try as long. */
  eventMissedMs: 15_000,
  /** Of these events, how many are kept. */
  eventsMissed: 4096,

  // shim
  /** Events of a shim that wait for the daemon to come back. */
  shimEventQueue: 2048,
  /** One event on its way from a shim to the daemon. */
  shimForwardMs: 5_000,
  /** One try to hand an event to the daemon. */
  eventForwardMs: 5_000,
  /** What a log binary may take to end after SIGTERM. */
  logBinaryTermMs: 12_000,

  // cri
  /** Images, pods or containers in one message of a Stream call: what containerd puts there. */
  criStreamBatch: 5_000,
  /** Silence of a registry that ends a pull; containerd's default. */
  criPullProgressMs: 5 * 60_000,
  /** Before images of other clients are followed again, after that has failed. */
  criFollowPauseMs: 1_000,
  /** Before a runtime that does not say what it can do is asked again. */
  criFeaturesRetryMs: 60_000,
  /** A CNI configuration file, and how many of them a directory may have. */
  cniConfigBytes: 1024 * 1024,
  cniConfigFiles: 1_000,
  /** One run of a CNI plugin; the kubelet gives a pod two minutes to start… */
  cniPluginMs: 60_000,
  /** …what it may print, and what of its complaint is told. */
  cniAnswerBytes: 1024 * 1024,
  cniMessageBytes: 4 * 1024,
  /** What is kept of one attachment: a configuration and a result. */
  cniAttachmentBytes: 4 * 1024 * 1024,
  /** Taking back what a pod got of a network that could not be set up. */
  cniUndoMs: 2 * 60_000,
  /** Streaming URLs that nobody has used yet, and how long one is good: containerd's figures… */
  criStreamTokens: 1_000,
  criStreamTokenMs: 60_000,
  /** …exec, attach and port-forward sessions at once… */
  criStreamSessions: 1_000,
  /** …the time a client has to open the streams that it asked for, and that a session may be silent: containerd's… */
  criStreamCreationMs: 30_000,
  criStreamIdleMs: 4 * 60 * 60_000,
  /** …what a session may take to be closed by its client after its end… */
  criStreamLingerMs: 5_000,
  /** …what one stream holds that nobody has read: the window of SPDY at its start… */
  criStreamBufferBytes: 64 * 1024,
  /** …a terminal's size in JSON, and one message of a WebSocket, in how many parts it may come. */
  criStreamResizeBytes: 1_024,
  criStreamMessageBytes: 1024 * 1024,
  criStreamMessageParts: 4_096,
  /** SPDY: streams of a connection (two for a forwarded connection), a control frame, the headers in it unpacked. */
  spdyStreams: 512,
  spdyControlFrameBytes: 16 * 1024,
  spdyHeaderBytes: 64 * 1024,
  /** Data in one frame that we send, so that the streams of a connection take turns. */
  spdyDataFrameBytes: 16 * 1024,
  /** A seccomp profile of the administrator's: hundreds of rules. */
  seccompProfileBytes: 1024 * 1024,
  /** A CDI specification, and how many in one directory. */
  cdiFileBytes: 4 * 1024 * 1024,
  cdiFiles: 1_000,

  // core: NRI
  /** Registration and requests of NRI plugins; containerd's defaults. */
  nriRegistrationMs: 5_000,
  nriRequestMs: 2_000,
  /** What a plugin may take to say goodbye when the daemon stops. */
  nriShutdownMs: 250,
  /** Plugins that are connected at once, registered or not… */
  nriPlugins: 128,
  /** …and a configuration of one that the daemon starts. */
  nriConfigBytes: 1024 * 1024,

  // restart policies
  /** Containers that are brought to the state of their label at once… */
  restartsAtOnce: 4,
  /** …and what one may take: a stop that has to escalate, a mount, a create, a start. */
  restartMs: 120_000,
  /** A container younger than this that has no task is left to its client. */
  restartGraceMs: 10_000,

  // daemon: what it tells of itself
  /** Containers in one scrape of the metrics: about 60 lines each. */
  metricsTasks: 2_000,
  /** Longest CPU profile that the debug socket takes. */
  profileSeconds: 300,
  /** Open connections to the metrics or to the debug socket… */
  httpServerConnections: 64,
  /** …the time that one may take for its next request, headers and all… */
  httpServerRequestMs: 60_000,
  /** …the time that an answer may take, longer than the longest profile… */
  httpServerAnswerMs: 360_000,
  /** …and the headers of a request. */
  httpServerHeaderBytes: 16_384,
  /** Ended spans that wait for the collector of traces; more are dropped and counted… */
  tracedSpans: 2_048,
  /** …and how many go at once, and how often. OpenTelemetry's own defaults. */
  tracedSpansBatch: 512,
  traceExportMs: 5_000,

  // client and command line
  /** What is still in the streams of `gantry` after an exit; a process that left children with them open is not waited for. */
  cliDrainMs: 3000,
  /** A passwd(5) or group(5) file: tens of thousands of users. */
  userFileBytes: 1024 * 1024,
  /** What a check may print: findings of a store in which everything is broken. */
  checkOutputBytes: 256 * 1024 * 1024,
  /** How long a client takes in progress after the transfer has ended. */
  progressTailMs: 2000,
} as const;
