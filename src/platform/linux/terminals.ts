/** Pseudo-terminals on Linux: pty(7), ioctl_tty(2), termios(3). */
import { closeSync, constants, openSync } from 'node:fs';
import { withNodeErrors } from '../errno.ts';
import type { ConsoleSocket, TerminalOperations, TerminalSize } from '../platform.ts';
import { LinuxConsoleSocket } from './console-socket.ts';
import * as libc from './libc.ts';
import { receiveDescriptor } from './sockets.ts';

const termiosBytes = 256;

export class LinuxTerminals implements TerminalOperations {
  open(): { masterFd: number; workerFd: number } {
    const masterFd = withNodeErrors(() => openSync('/dev/ptmx', constants.O_RDWR | constants.O_NOCTTY));
    try {
      const unlock = Buffer.alloc(4);
      libc.check('ioctl', 'TIOCSPTLCK', libc.ioctl(masterFd, libc.TIOCSPTLCK, unlock));
      // By the descriptor and not by name, which could lie in another mount namespace's /dev/pts.
      const flags = constants.O_RDWR | constants.O_NOCTTY | libc.SOCK_CLOEXEC;
      const peer = libc.ioctlNumber(masterFd, libc.TIOCGPTPEER, flags);
      return { masterFd, workerFd: libc.check('ioctl', 'TIOCGPTPEER', peer) };
    } catch (error) {
      closeSync(masterFd);
      throw error;
    }
  }

  receiveDescriptor(fd: number): number {
    return receiveDescriptor(fd);
  }

  async consoleSocket(path: string): Promise<ConsoleSocket> {
    return LinuxConsoleSocket.listen(path);
  }

  resize(fd: number, size: TerminalSize): void {
    const winsize = Buffer.alloc(8);
    winsize.writeUInt16LE(size.rows & 0xffff, 0);
    winsize.writeUInt16LE(size.columns & 0xffff, 2);
    libc.check('ioctl', 'TIOCSWINSZ', libc.ioctl(fd, libc.TIOCSWINSZ, winsize));
  }

  size(fd: number): TerminalSize {
    const winsize = Buffer.alloc(8);
    libc.check('ioctl', 'TIOCGWINSZ', libc.ioctl(fd, libc.TIOCGWINSZ, winsize));
    return { rows: winsize.readUInt16LE(0), columns: winsize.readUInt16LE(2) };
  }

  setNonBlocking(fd: number): void {
    const on = Buffer.alloc(4);
    on.writeInt32LE(1);
    libc.check('ioctl', 'FIONBIO', libc.ioctl(fd, libc.FIONBIO, on));
  }

  makeRaw(fd: number): Disposable {
    const before = Buffer.alloc(termiosBytes);
    libc.check('tcgetattr', '', libc.tcgetattr(fd, before));
    const raw = Buffer.from(before);
    libc.cfmakeraw(raw);
    libc.check('tcsetattr', '', libc.tcsetattr(fd, libc.TCSANOW, raw));
    return {
      [Symbol.dispose]: (): void => {
        // The terminal may be gone by now, and then there is nothing to restore.
        libc.tcsetattr(fd, libc.TCSANOW, before);
      },
    };
  }
}
