/**
 * Overlay mounts whose options do not fit into the one page that mount(2) passes on: images of many layers.
 *
 * The new mount API takes the layers one by one (`lowerdir+`, Linux 6.8), each up to 255 bytes. Where the kernel or a
 * longer path does not allow that, the layers are opened and named by /proc/self/fd, which is short and not relative
 * to a working directory that all threads share (containerd changes its own for this).
 */
import { closeSync, constants, openSync } from 'node:fs';
import { hasCode, resourceExhausted } from '../../base/errors.ts';
import { withNodeErrors } from '../errno.ts';
import * as libc from './libc.ts';
import { isReadOnly, mountAttributes } from './mount-options.ts';

/** One page less its NUL: what mount(2) copies of the data. */
export const mountDataBytes = 4095;
/** A string value of fsconfig(2), less its NUL. */
const configStringBytes = 255;
/** O_PATH, which Node does not name. */
const O_PATH = 0o10000000;

export interface OverlayRequest {
  readonly source: string;
  readonly target: string;
  readonly flags: number;
  /** The options as they were, `lowerdir=` among them. */
  readonly data: readonly string[];
}

/** The layers of `lowerdir=`, topmost first; a colon in a path is written `\:`. */
export function splitLowerDirs(value: string): string[] {
  return value.split(/(?<!\\):/).map((path) => path.replaceAll('\\:', ':').replaceAll('\\\\', '\\'));
}

const lowerPrefix = 'lowerdir=';

function configure(fd: number, key: string, value: string): void {
  const call = `fsconfig(${key})`;
  libc.check(call, value, libc.fsconfig(fd, libc.FSCONFIG_SET_STRING, key, value));
}

function mountLayerByLayer(request: OverlayRequest): void {
  using cleanup = new DisposableStack();
  const context = libc.check('fsopen', 'overlay', libc.fsopen('overlay'));
  cleanup.defer(() => libc.closeDescriptor(context));
  configure(context, 'source', request.source === '' ? 'overlay' : request.source);
  for (const option of request.data) {
    const equals = option.indexOf('=');
    if (option.startsWith(lowerPrefix))
      for (const path of splitLowerDirs(option.slice(lowerPrefix.length)))
        configure(context, 'lowerdir+', path);
    else if (equals < 0)
      libc.check('fsconfig', option, libc.fsconfig(context, libc.FSCONFIG_SET_FLAG, option, null));
    else configure(context, option.slice(0, equals), option.slice(equals + 1));
  }
  if (isReadOnly(request.flags))
    libc.check('fsconfig', 'ro', libc.fsconfig(context, libc.FSCONFIG_SET_FLAG, 'ro', null));
  libc.check('mount overlay', request.target, libc.fsconfig(context, libc.FSCONFIG_CMD_CREATE, null, null));
  const tree = libc.check('fsmount', request.target, libc.fsmount(context, mountAttributes(request.flags)));
  cleanup.defer(() => libc.closeDescriptor(tree));
  libc.check('move_mount', request.target, libc.moveMount(tree, request.target));
}

function mountByDescriptors(request: OverlayRequest): void {
  using cleanup = new DisposableStack();
  const shorten = (path: string): string => {
    const fd = withNodeErrors(() => openSync(path, O_PATH | constants.O_DIRECTORY));
    cleanup.defer(() => closeSync(fd));
    return `/proc/self/fd/${fd}`;
  };
  const data = request.data
    .map((option) =>
      option.startsWith(lowerPrefix)
        ? lowerPrefix + splitLowerDirs(option.slice(lowerPrefix.length)).map(shorten).join(':')
        : option,
    )
    .join(',');
  if (Buffer.byteLength(data) > mountDataBytes)
    throw resourceExhausted(
      `mount overlay ${request.target}: too many layers for this kernel; Linux 6.8 or later has no such limit`,
    );
  const source = request.source === '' ? 'overlay' : request.source;
  libc.check(
    'mount overlay',
    request.target,
    libc.mount(source, request.target, 'overlay', request.flags, data),
  );
}

/** Errors: ResourceExhausted when even short names do not fit, else what the kernel says. */
export function mountLongOverlay(request: OverlayRequest): void {
  const fits = request.data.every((option) => {
    const values = option.startsWith(lowerPrefix)
      ? splitLowerDirs(option.slice(lowerPrefix.length))
      : [option.slice(option.indexOf('=') + 1)];
    return values.every((value) => Buffer.byteLength(value) <= configStringBytes);
  });
  if (fits) {
    try {
      mountLayerByLayer(request);
      return;
    } catch (error) {
      // Kernels before 6.8 answer EINVAL to lowerdir+, those before 5.2 ENOSYS to fsopen.
      if (!hasCode(error, 'InvalidArgument') && !hasCode(error, 'Unimplemented')) throw error;
    }
  }
  mountByDescriptors(request);
}
