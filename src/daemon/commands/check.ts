/**
 * `gantryd check`: the check without a daemon, one JSON object a line as the API streams them. It takes the daemon's
 * lock, so that none starts meanwhile, and starts only what keeps data: no shim is asked, nothing is collected.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { create, toJsonString } from '@bufbuild/protobuf';
import { background } from '../../base/context.ts';
import { absent, hasCode } from '../../base/errors.ts';
import { type DigestMode } from '../../core/check/digest-sample.ts';
import { StoreChecker } from '../../core/check/store-checker.ts';
import { Collector } from '../../core/gc/collector.ts';
import { PluginGraph, pluginId } from '../../core/plugins/graph.ts';
import type { Platform } from '../../platform/platform.ts';
import { eventToWire } from '../../services/check.ts';
import { RunResponseSchema } from '../../wire/gen/gantry/check/v1/check_pb.js';
import { InFlightCalls } from '../../wire/in-flight.ts';
import { builtins } from '../builtins.ts';
import { type CommandLine, Configuration } from '../config/daemon-config.ts';
import { lockRoot } from '../daemon.ts';
import { Deprecations } from '../deprecations.ts';
import { createLogger } from '../logger.ts';
import { bundleRootOf } from '../plugins/check.ts';
import {
  content,
  differType,
  eventExchange,
  metadata,
  serviceType,
  snapshotterType,
  tasksNoun,
  transferLocal,
} from '../plugins/tokens.ts';

export interface CheckOptions {
  readonly digests: DigestMode;
  readonly seed: string;
  readonly repair?: true;
  readonly plainHttp?: true;
}

/** What keeps data, and what fetches it. */
const kept: ReadonlySet<string> = new Set([
  content.type,
  eventExchange.type,
  metadata.type,
  snapshotterType.type,
  differType.type,
  serviceType.type,
  transferLocal.type,
]);

/** Errors: NotFound (no such root), FailedPrecondition (a daemon runs on it). */
export async function checkOffline(
  platform: Platform,
  commandLine: CommandLine,
  options: CheckOptions,
): Promise<void> {
  const configuration = new Configuration(commandLine);
  const { rootDir, stateDir } = configuration.daemon;
  if (!existsSync(path.join(rootDir, pluginId(metadata), 'meta.db')))
    throw absent(`there is no store in ${rootDir}: name its folder with --root`);
  await using resources = new AsyncDisposableStack();
  resources.use(lockRoot(platform, rootDir));
  const log = createLogger({ level: 'warn', format: configuration.daemon.logFormat });
  const ctx = background(log);
  const graph = new PluginGraph({
    ctx,
    rootDir,
    stateDir,
    configOf: (plugin) => configuration.tableOf(plugin),
    requiredPlugins: [pluginId(metadata)],
    disabledPlugins: configuration.daemon.disabledPlugins,
  });
  resources.use(graph);
  const dependencies = {
    platform,
    log,
    calls: new InFlightCalls(),
    deprecations: new Deprecations(),
    configuration,
    leaveAsFound: true,
    pluginRecords: () => graph.records,
  };
  await graph.start(
    builtins(dependencies).filter(
      ({ type, id }) => kept.has(type) && !(type === tasksNoun.type && id === tasksNoun.id),
    ),
  );
  const store = graph.get(metadata);
  const checker = new StoreChecker(
    {
      store,
      backends: graph.all(snapshotterType),
      registry: graph.get(transferLocal).registry,
      mounts: platform.mounts,
      collect: async (within) => void (await new Collector({ store }).run(within)),
      hasTask: (within, id) =>
        store.containers.get(within, id).then(
          () => true,
          (error: unknown) => !hasCode(error, 'NotFound'),
        ),
    },
    { bundleRoot: bundleRootOf(configuration) },
  );
  const request = {
    digests: options.digests,
    seed: Number(options.seed),
    repair: options.repair === true,
    ...(options.plainHttp === true && { defaultScheme: 'http' as const }),
  };
  for await (const event of checker.check(ctx, request))
    process.stdout.write(
      `${toJsonString(RunResponseSchema, create(RunResponseSchema, eventToWire(event)))}\n`,
    );
}
