/**
 * Intel's ISA-L (libisal.so.2, Debian's libisal2) as an engine for gzip members: about three times as fast as zlib.
 *
 * `struct inflate_state` has no accessors, so its layout is known here (isa-l 2.30, igzip_lib.h, 64-bit); a library
 * that lays it out otherwise does not pass the self-test of inflaters.ts and is not used. It takes for damaged what
 * zlib takes for damaged (RFC 1951), but for headers, which are therefore read by isal-header.ts.
 */
import * as koffi from 'koffi';
import { invalidArgument } from '../../base/errors.ts';
import { GzipHeader } from './isal-header.ts';
import { addressOf } from './libc.ts';
import type { MemberEngine, MemberStep } from './member-engine.ts';

/** Larger than the structure (87,368 bytes), should a later one have grown. */
const stateBytes = 256 * 1024;
const nextOut = 0;
const availableOut = 8;
const nextIn = 16;
const availableIn = 32;
const blockState = 21_160;
const checkFlag = 21_172;
/** ISAL_BLOCK_FINISH. */
const finished = 5;
/** ISAL_GZIP_NO_HDR_VER: deflate, and gzip's trailer, which must hold. */
const withTrailer = 6;

interface Library {
  readonly init: (state: Buffer) => void;
  readonly inflate: (state: Buffer) => number;
}

function load(): Library | undefined {
  try {
    const library = koffi.load('libisal.so.2');
    return {
      init: library.func('void isal_inflate_init(void *)'),
      inflate: library.func('int isal_inflate(void *)'),
    };
  } catch {
    return undefined;
  }
}

class IsalEngine implements MemberEngine {
  readonly name = 'isa-l';
  readonly #library: Library;
  readonly #state = Buffer.alloc(stateBytes);
  #header = new GzipHeader();

  constructor(library: Library) {
    this.#library = library;
  }

  begin(): void {
    this.#library.init(this.#state);
    this.#state.writeUInt32LE(withTrailer, checkFlag);
    this.#header = new GzipHeader();
  }

  step(input: Buffer, at: number, end: number, output: Buffer): MemberStep {
    if (!this.#header.isDone) {
      const consumedBytes = this.#header.push(input, at, end) - at;
      return { consumedBytes, producedBytes: 0, isFinished: false };
    }
    const state = this.#state;
    state.writeBigUInt64LE(addressOf(input) + BigInt(at), nextIn);
    state.writeUInt32LE(end - at, availableIn);
    state.writeBigUInt64LE(addressOf(output), nextOut);
    state.writeUInt32LE(output.length, availableOut);
    const result = this.#library.inflate(state);
    if (result < 0) throw invalidArgument(`gzip stream is damaged (isa-l ${result})`);
    return {
      consumedBytes: end - at - state.readUInt32LE(availableIn),
      producedBytes: output.length - state.readUInt32LE(availableOut),
      isFinished: state.readUInt32LE(blockState) === finished,
    };
  }

  [Symbol.dispose](): void {}
}

/** Loaded once and kept: a library that koffi lets go of may not come again. */
const library = load();

/** Undefined where the library is not installed. */
export const isalEngine = (): MemberEngine | undefined => library && new IsalEngine(library);
