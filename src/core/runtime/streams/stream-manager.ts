/**
 * Streams of processes that the shim relays, because the stdout of their create or exec is a `cri:` URI: the log in the
 * CRI format and any number of attached clients. A restart of the daemon ends attachments, and nothing else.
 */
import type { NamespacedContext } from '../../../base/context.ts';
import type { ProcessTarget } from '../task-manager.ts';
import type { AttachedProcess, AttachStreams } from './attached-process.ts';

export interface StreamManager {
  /**
   * Also before the process's start, which is how nothing of its output is missed. The caller disposes of it. Errors:
   * NotFound; FailedPrecondition for other URIs; Unimplemented by a foreign shim; Unavailable.
   */
  attach(ctx: NamespacedContext, target: ProcessTarget, streams: AttachStreams): Promise<AttachedProcess>;
  /** Closes the log and opens its path anew, between two lines. Errors: as `attach`; what opening the path says. */
  reopenLog(ctx: NamespacedContext, target: ProcessTarget): Promise<void>;
}
