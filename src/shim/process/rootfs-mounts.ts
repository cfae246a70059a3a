/**
 * The root filesystems of the containers of a shim: mounted for the create, let go at the delete.
 *
 * When nobody holds an overlay any more the kernel writes out what is beneath it, for milliseconds in which the thread
 * that let go stands still. So what is let go is held by a descriptor while it is unmounted, and that is closed on
 * another thread. Until then the kernel counts the directories as in use: who mounts the same again waits for it.
 */
import { close, constants, mkdirSync, openSync } from 'node:fs';
import { ContainerdError, codedError, wrap } from '../../base/errors.ts';
import type { Mount } from '../../platform/mount.ts';
import type { Platform } from '../../platform/platform.ts';
import { mountAll, unmountAll } from '../../platform/temp-mount.ts';

type Mounted = Pick<Mount, 'type' | 'source' | 'options'>;

export class RootfsMounts {
  readonly #platform: Pick<Platform, 'name' | 'mounts'>;
  /** By what was mounted. */
  readonly #closing = new Map<string, Promise<void>>();

  constructor(platform: Pick<Platform, 'name' | 'mounts'>) {
    this.#platform = platform;
  }

  /** Makes the directory. Errors: as mountAll. */
  async mount(mounts: readonly Mount[], rootfs: string): Promise<void> {
    if (mounts.length === 0) return;
    for (const mount of mounts) await this.#closing.get(keyOf(mount));
    mkdirSync(rootfs, { recursive: true, mode: 0o711 });
    try {
      mountAll(this.#platform, mounts, rootfs);
    } catch (error) {
      throw wrap('failed to mount rootfs component', error);
    }
  }

  /** `mounts` as they were mounted there; nothing of them is in sight afterwards. Errors: what umount(2) says. */
  unmount(mounts: readonly Mounted[], rootfs: string): void {
    const fd = mounts.length === 0 ? undefined : tryOpen(rootfs);
    try {
      unmountAll(this.#platform, rootfs, { lazy: true });
    } catch (error) {
      throw codedError(ContainerdError.from(error).code, `unmount ${rootfs}`, error);
    } finally {
      if (fd !== undefined) this.#close(fd, mounts);
    }
  }

  #close(fd: number, mounts: readonly Mounted[]): void {
    const closed = new Promise<void>((resolve) => close(fd, () => resolve()));
    for (const mount of mounts) {
      const key = keyOf(mount);
      this.#closing.set(key, closed);
      void closed.then(() => {
        if (this.#closing.get(key) === closed) this.#closing.delete(key);
      });
    }
  }
}

const keyOf = ({ type, source, options }: Mounted): string => JSON.stringify([type, source, options]);

/** Without it the unmount takes its time. */
function tryOpen(rootfs: string): number | undefined {
  try {
    return openSync(rootfs, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
}
