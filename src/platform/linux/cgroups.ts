/**
 * What the kernel tells about cgroups of its own accord: version 1 by an eventfd that is registered in
 * `cgroup.event_control`, version 2 by inotify on the file (Documentation/admin-guide/cgroup-v1/memory.rst, 10;
 * cgroup-v2.rst, "memory.events"). Both wake libuv's epoll; no thread waits.
 */
import { closeSync, constants, type FSWatcher, openSync, readSync, watch, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { withNodeErrors } from '../errno.ts';
import type { CgroupOperations } from '../platform.ts';
import * as libc from './libc.ts';
import { ReadinessWatch } from './readiness.ts';

export class LinuxCgroups implements CgroupOperations {
  watchMemory(file: string, onEvent: () => void): Disposable {
    return basename(file) === 'memory.oom_control'
      ? new OomEventDescriptor(file, onEvent)
      : watchFile(file, onEvent);
  }
}

function watchFile(file: string, onEvent: () => void): Disposable {
  const watcher: FSWatcher = withNodeErrors(() => watch(file, { persistent: false }, () => onEvent()));
  // A watch that fails later just says nothing more, as when the cgroup is gone.
  watcher.on('error', () => watcher.close());
  return { [Symbol.dispose]: () => watcher.close() };
}

class OomEventDescriptor implements Disposable {
  readonly #fd: number;
  readonly #onEvent: () => void;
  #watch: ReadinessWatch | undefined;

  constructor(file: string, onEvent: () => void) {
    this.#onEvent = onEvent;
    const flags = libc.EFD_CLOEXEC | libc.EFD_NONBLOCK;
    this.#fd = libc.check('eventfd', file, libc.eventfd(0, flags));
    try {
      this.#register(file);
    } catch (error) {
      libc.closeDescriptor(this.#fd);
      throw error;
    }
    this.#arm();
  }

  #register(file: string): void {
    withNodeErrors(() => {
      const control = openSync(file, constants.O_RDONLY);
      try {
        const text = `${this.#fd} ${control}`;
        writeFileSync(join(dirname(file), 'cgroup.event_control'), text, { flag: 'r+' });
      } finally {
        closeSync(control);
      }
    });
  }

  /** A watch tells once, so that each event takes a new one. */
  #arm(): void {
    this.#watch = new ReadinessWatch(this.#fd, () => {
      this.#watch?.[Symbol.dispose]();
      this.#arm();
      readSync(this.#fd, Buffer.alloc(8));
      this.#onEvent();
    });
    this.#watch.unref();
  }

  [Symbol.dispose](): void {
    if (this.#watch === undefined) return;
    this.#watch[Symbol.dispose]();
    this.#watch = undefined;
    libc.closeDescriptor(this.#fd);
  }
}
