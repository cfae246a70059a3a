/** What the daemon gives its plugins beside what they give each other. */
import type { Logger } from '../../base/logger.ts';
import type { PluginRecord } from '../../core/plugins/graph.ts';
import type { Platform } from '../../platform/platform.ts';
import type { InFlightCalls } from '../../wire/in-flight.ts';
import type { Configuration } from '../config/daemon-config.ts';
import type { Deprecations } from '../deprecations.ts';
import type { Reloads } from '../reload/reloads.ts';

export interface BuiltinDependencies {
  readonly platform: Platform;
  readonly log: Logger;
  readonly calls: InFlightCalls;
  readonly configuration: Configuration;
  readonly deprecations: Deprecations;
  /** Where plugins say which of their settings can change while they run; absent where nothing runs. */
  readonly reloads?: Reloads;
  /** Nothing is put right at the start: it is to be looked at as it is. */
  readonly leaveAsFound?: boolean;
  readonly pluginRecords: () => readonly PluginRecord[];
}
