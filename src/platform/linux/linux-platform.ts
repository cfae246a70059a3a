/** The platform over the Linux kernel. Importing this file loads koffi; only select.ts does, and only on Linux. */
import type { Platform } from '../platform.ts';
import { LinuxCgroups } from './cgroups.ts';
import { LinuxFiles } from './files.ts';
import { LinuxInflaters } from './inflaters.ts';
import { LinuxLoops } from './loop-devices.ts';
import { LinuxMemory } from './memory.ts';
import { LinuxMounts } from './mounts.ts';
import { LinuxNamespaces } from './namespaces.ts';
import { LinuxPipes } from './pipes.ts';
import { LinuxProcesses } from './processes.ts';
import { LinuxSockets } from './sockets.ts';
import { LinuxTerminals } from './terminals.ts';

export const linuxPlatform = (): Platform => ({
  name: 'linux',
  files: new LinuxFiles(),
  mounts: new LinuxMounts({ loops: new LinuxLoops() }),
  loops: new LinuxLoops(),
  processes: new LinuxProcesses(),
  pipes: new LinuxPipes(),
  terminals: new LinuxTerminals(),
  sockets: new LinuxSockets(),
  cgroups: new LinuxCgroups(),
  namespaces: new LinuxNamespaces(),
  memory: new LinuxMemory(),
  inflate: new LinuxInflaters(),
});
