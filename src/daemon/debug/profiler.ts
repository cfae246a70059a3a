/**
 * Profiles of this process by V8's own tools: what it computes (.cpuprofile) and what it holds (.heapsnapshot). Both open
 * in the developer tools of Chromium and in editors.
 *
 * Differs from containerd: its profiles are Go's pprof format, of which Node has no counterpart.
 */
import { Session } from 'node:inspector/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { getHeapSnapshot } from 'node:v8';
import { failedPrecondition } from '../../base/errors.ts';

export class Profiler {
  #profiling = false;

  /**
   * JSON of a CPU profile. It samples about a thousand times a second and slows the daemon by a few percent meanwhile.
   * Errors: FailedPrecondition while another one is taken; Canceled by the signal.
   */
  async cpuProfile(seconds: number, { signal }: { readonly signal: AbortSignal }): Promise<string> {
    if (this.#profiling)
      throw failedPrecondition('a CPU profile is being taken: wait for its end, or stop its client');
    this.#profiling = true;
    const session = new Session();
    session.connect();
    try {
      await session.post('Profiler.enable');
      await session.post('Profiler.start');
      await pause(seconds * 1000, undefined, { signal });
      const { profile } = await session.post('Profiler.stop');
      return JSON.stringify(profile);
    } finally {
      session.disconnect();
      this.#profiling = false;
    }
  }

  /** The daemon stands still while V8 walks its heap, and needs as much memory again: about a second for 100 MB. */
  heapSnapshot(): AsyncIterable<string | Uint8Array> {
    return getHeapSnapshot() as AsyncIterable<Uint8Array>;
  }
}
