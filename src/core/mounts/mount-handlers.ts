/** Types of mounts that mount(2) does not know as they are. What they leave at a place, mount-places.ts takes away. */
import { createHash } from 'node:crypto';
import { symlinkSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { invalidArgument } from '../../base/errors.ts';
import { withNodeErrors } from '../../platform/errno.ts';
import type { Mount } from '../../platform/mount.ts';
import type { LoopOperations, MountOperations } from '../../platform/platform.ts';

export interface MountHandler {
  /** Whether the place is a directory, to be made before. */
  readonly wantsDirectory: boolean;
  mount(mount: Mount, place: string): void;
}

export interface MountHandlerDependencies {
  readonly mounts: MountOperations;
  readonly loops: LoopOperations;
}

/** A loop device is known as ours by this: device numbers are given again, paths of places are not. */
export const tagOf = (place: string): string =>
  `gantry-${createHash('sha256').update(place).digest('hex').slice(0, 40)}`;

export const mountHandlers = (dependencies: MountHandlerDependencies): ReadonlyMap<string, MountHandler> =>
  new Map<string, MountHandler>([
    ['loop', new LoopHandler(dependencies)],
    ['erofs', new ErofsHandler(dependencies)],
  ]);

/** A file as a block device; the place is a symlink to it. */
class LoopHandler implements MountHandler {
  readonly wantsDirectory = false;
  readonly #loops: LoopOperations;

  constructor({ loops }: MountHandlerDependencies) {
    this.#loops = loops;
  }

  mount(mount: Mount, place: string): void {
    checkSource(mount);
    using device = this.#loops.attach(mount.source, { readOnly: isReadOnly(mount), tag: tagOf(place) });
    withNodeErrors(() => symlinkSync(device.path, place));
    // Until here the kernel would have let it go with us.
    device.keep();
  }
}

/** A file, mounted as it is where the kernel can (Linux 6.12), else over loop devices that go with the mount. */
class ErofsHandler implements MountHandler {
  readonly wantsDirectory = true;
  readonly #dependencies: MountHandlerDependencies;

  constructor(dependencies: MountHandlerDependencies) {
    this.#dependencies = dependencies;
  }

  mount(mount: Mount, place: string): void {
    checkSource(mount);
    const plain = { ...mount, options: mount.options.filter((option) => option !== 'loop') };
    const { mounts } = this.#dependencies;
    try {
      mounts.mount(plain, place);
    } catch {
      this.#mountByLoop(plain, place);
    }
  }

  #mountByLoop(mount: Mount, place: string): void {
    using devices = new DisposableStack();
    const attach = (file: string): string =>
      devices.use(this.#dependencies.loops.attach(file, { readOnly: true })).path;
    const options = mount.options.map((option) =>
      option.startsWith('device=') ? `device=${attach(option.slice('device='.length))}` : option,
    );
    this.#dependencies.mounts.mount({ ...mount, source: attach(mount.source), options }, place);
  }
}

const isReadOnly = ({ options }: Mount): boolean =>
  options.findLast((option) => option === 'ro' || option === 'rw') === 'ro';

/** Errors: InvalidArgument. */
function checkSource({ type, source }: Mount): void {
  if (!isAbsolute(source))
    throw invalidArgument(
      `the source of a ${type} mount must be an absolute path, not ${JSON.stringify(source)}`,
    );
}
