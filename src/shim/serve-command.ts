/**
 * The long-lived process: takes over what the shim before it held, then holds containers, serves the task API on its
 * socket and sends events home. It ignores SIGTERM while it holds containers: only the end of them, or a kill, ends it.
 */
import { closeSync, fstatSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from '../base/logger.ts';
import { saveCompileCache } from '../platform/compile-cache.ts';
import { readyWord } from '../platform/ready-process.ts';
import { giveBackAtRest } from '../platform/rest.ts';
import { selectPlatform } from '../platform/select.ts';
import { connectTtrpc } from '../wire/ttrpc/client.ts';
import { TtrpcServer } from '../wire/ttrpc/server.ts';
import { UnixListener } from '../wire/unix-listener.ts';
import type { ShimArguments } from './arguments.ts';
import { EventPublisher } from './event-publisher.ts';
import { HeldDirectory } from './held-directory.ts';
import { Shim } from './shim.ts';
import { shimLogger } from './shim-logger.ts';
import { dumpState } from './state-dump.ts';
import { streamsService } from './streams-service.ts';
import { taskServices } from './task-service.ts';

/** Where the starter waits for us: empty and closed is well, text is what went wrong. */
const readyFd = 3;
/** Events that are still on their way when the last container is gone. */
const flushMs = 5_000;
const answerMs = 1_000;

export async function serveCommand(
  args: ShimArguments,
  env: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const log = shimLogger(args.debug);
  try {
    const platform = await selectPlatform();
    platform.processes.becomeSubreaper();
    const ttrpcAddress = env['TTRPC_ADDRESS'] ?? `${args.address}.ttrpc`;
    const events = new EventPublisher({
      connect: (signal) => connectTtrpc(ttrpcAddress, { signal }),
      log,
    });
    const heldIn = args.held === '' ? join(dirname(args.socket), 'held') : args.held;
    // First of all: who has it is the only shim here.
    const held = await HeldDirectory.open(platform, heldIn);
    const listener = await UnixListener.listen({ sockets: platform.sockets }, args.socket, { mode: 0o600 });
    let server: TtrpcServer | undefined;
    const stop = async (): Promise<void> => {
      await listener.close();
      await events.flushed(flushMs);
      // The next one may be waiting for it.
      held[Symbol.dispose]();
      await server?.shutdown(answerMs);
      process.exit(0);
    };
    const shim = new Shim(
      { platform, events, log, held, onIdle: () => void stop() },
      { runcRoot: args.runcRoot, graceMs: args.graceMs, namespace: args.namespace },
    );
    handleSignals(shim, log);
    await shim.adopt();
    server = new TtrpcServer(
      { services: [...taskServices(shim), streamsService(shim)], log },
      { sameUserOnly: true },
    );
    server.attach(listener);
    tellReady('');
    giveBackAtRest(platform.memory);
    log.info({ socket: args.socket, pid: process.pid }, 'shim is ready');
    saveCompileCache();
  } catch (error) {
    tellReady(error instanceof Error ? error.message : String(error));
    throw error;
  }
}

function handleSignals(shim: Shim, log: Logger): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => shim.shutdown());
  process.on('SIGUSR1', () => dumpState(shim, log));
  // Node would end on it.
  process.on('SIGHUP', () => {});
}

function tellReady(problem: string): void {
  try {
    // Started by hand there is no such descriptor, or it is something of Node's own.
    if (!fstatSync(readyFd).isFIFO()) return;
    writeSync(readyFd, problem === '' ? readyWord : problem);
    closeSync(readyFd);
  } catch {
    // The starter has gone.
  }
}
