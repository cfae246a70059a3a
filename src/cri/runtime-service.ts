/** runtime.v1.RuntimeService: a file for each story. What is left out answers Unimplemented. */
import { RuntimeService } from '../wire/gen/runtime/v1/runtime_pb.js';
import { type Handlers, type ServedService, serve } from '../wire/service.ts';
import { runtimeConfig } from './runtime-config.ts';
import { type RuntimeStatusDependencies, runtimeStatus } from './runtime-status.ts';
import { runtimeVersion } from './runtime-version.ts';
import type { RuntimeSettings } from './settings.ts';

export interface RuntimeServiceDependencies extends RuntimeStatusDependencies {
  /** Of the daemon. */
  readonly version: string;
  readonly runsSystemd: () => boolean;
  /** Of pods and containers. */
  readonly pods: Handlers<typeof RuntimeService>;
}

export const criRuntimeService = (
  dependencies: RuntimeServiceDependencies,
  settings: RuntimeSettings,
): ServedService =>
  serve(RuntimeService, {
    ...dependencies.pods,
    version: async () => runtimeVersion(dependencies.version),
    status: (ctx, request) => runtimeStatus(dependencies, settings, ctx, request),
    runtimeConfig: async () => runtimeConfig(settings, dependencies),
  });
