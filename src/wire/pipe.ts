/**
 * FIFOs, pipes and terminals' relays as Node streams that the event loop polls (not libuv's file pool, which would
 * block a thread each). The descriptor must be non-blocking-safe and belongs to the stream from here on.
 */
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';

export const pipeReader = (fd: number): Readable => new Socket({ fd, readable: true, writable: false });

export const pipeWriter = (fd: number): Writable => new Socket({ fd, readable: false, writable: true });
