/** What Exec, Attach and PortForward refuse before there is a URL, in the words of the kubelet's library. */
import { invalidArgument } from '../../base/errors.ts';
import type { CommandRequest, ForwardRequest, StreamSelection } from './streaming-runtime.ts';

/** Errors: InvalidArgument. */
export function checkSelection({ containerId, tty, stdin, stdout, stderr }: StreamSelection): void {
  if (containerId === '') throw invalidArgument('missing required container_id');
  if (tty && stderr) throw invalidArgument('tty and stderr cannot both be true');
  if (!stdin && !stdout && !stderr) throw invalidArgument('one of stdin, stdout, or stderr must be set');
}

/** Errors: InvalidArgument. A command that is empty fails when it runs, as containerd's does. */
export const checkCommand = (request: CommandRequest): void => checkSelection(request);

/** Errors: InvalidArgument. No port at all is good: over SPDY each stream names its own. */
export function checkForward({ podSandboxId, port }: ForwardRequest): void {
  if (podSandboxId === '') throw invalidArgument('missing required pod_sandbox_id');
  for (const one of port)
    if (!Number.isInteger(one) || one < 1 || one > 65_535)
      throw invalidArgument(`invalid port ${one}: ports are between 1 and 65535`);
}
