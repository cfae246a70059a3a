/**
 * The platform that any Node has. What it cannot do throws Unimplemented with the name of the call. No FFI is
 * reachable from here.
 */
import { unimplemented } from '../../base/errors.ts';
import type {
  CgroupOperations,
  LoopOperations,
  MountOperations,
  NamespaceOperations,
  PipeOperations,
  Platform,
  SocketOperations,
  TerminalOperations,
} from '../platform.ts';
import { PortableFiles } from './files.ts';
import { PortableProcesses } from './processes.ts';

/** A call that this platform does not have. */
const lacking = (call: string) => (): never => {
  throw unimplemented(`${call} is not available on this platform`);
};

const mounts: MountOperations = {
  mount: lacking('mounts.mount'),
  // Nothing can have been mounted, and that is not an error.
  unmount: () => {},
  unmountAll: () => {},
  list: () => [],
};

const loops: LoopOperations = {
  attach: lacking('loops.attach'),
  detach: lacking('loops.detach'),
  isAttached: () => false,
};

const pipes: PipeOperations = {
  moveToFile: lacking('pipes.moveToFile'),
  watchReadable: lacking('pipes.watchReadable'),
  setCapacity: () => {},
  freeRange: () => false,
};

const terminals: TerminalOperations = {
  open: lacking('terminals.open'),
  receiveDescriptor: lacking('terminals.receiveDescriptor'),
  consoleSocket: async () => lacking('terminals.consoleSocket')(),
  resize: lacking('terminals.resize'),
  size: lacking('terminals.size'),
  setNonBlocking: lacking('terminals.setNonBlocking'),
  makeRaw: lacking('terminals.makeRaw'),
};

const sockets: SocketOperations = {
  peerCredentials: lacking('sockets.peerCredentials'),
  sendDatagram: lacking('sockets.sendDatagram'),
};

const cgroups: CgroupOperations = {
  watchMemory: lacking('cgroups.watchMemory'),
};

const namespaces: NamespaceOperations = {
  makeNetwork: lacking('namespaces.makeNetwork'),
  isPinned: () => false,
  unpin: () => {},
  raiseLoopback: lacking('namespaces.raiseLoopback'),
};

export const portablePlatform = (): Platform => ({
  name: 'portable',
  files: new PortableFiles(),
  mounts,
  loops,
  processes: new PortableProcesses(),
  pipes,
  terminals,
  sockets,
  cgroups,
  namespaces,
  // Node's allocator is left to itself.
  memory: { release: () => {} },
  inflate: { engine: () => undefined, open: () => undefined },
});
